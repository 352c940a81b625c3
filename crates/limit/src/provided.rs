//! Which values presume what.
//!
//! A zero leaves nothing behind: what it multiplies is gone, and factors whose covariance it is were taken apart. What it
//! presumes ([`crate::premise`]) can therefore not be read off an expression, and is noted while a value is derived. Every
//! result that the deriver remembers is derived in a frame of its own; what is presumed meanwhile is remembered with the
//! result, and is passed on to the frame of whoever finds it again. Expressions stay as they are, so that what is zero by
//! proof is zero, and only what is handed out says what it presumes: as a [`Body::Provided`].

use std::collections::BTreeSet;

use indexmap::IndexSet;
use netsor_ir::Id;
use netsor_ir::expr::ExprId;
use rustc_hash::FxBuildHasher;

use crate::derive::Deriver;
use crate::graph::{Body, Def, Graph};
use crate::premise::{Premise, Presumed};

/// The id of a set of premises of a graph.
pub type PremisesId = Id<Premises>;

/// What a value presumes about numbers: that expectations which vanish by symmetry or by independence exist, that what
/// multiplies a zero is finite, and that jumps which are multiplied are apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Premises(pub(crate) Set);

/// Sets are built of earlier ones, as values are derived from earlier ones.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Set {
    One(Premise),
    All(Vec<PremisesId>),
}

/// A result that is remembered, with what it presumes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Remembered<T> {
    pub(crate) value: T,
    pub(crate) premises: Option<PremisesId>,
}

/// What is presumed while something is derived.
pub(crate) type Frame = IndexSet<PremisesId, FxBuildHasher>;

impl Graph {
    /// The first value with a part that vanishes only if an expectation exists, or has a meaning only if two jumps are
    /// apart, which depends on numbers: [`Evaluator`](crate::Evaluator) looks at it, and whoever evaluates a
    /// [`Body::Provided`] by other means should refuse it.
    pub fn presumes_existence(&self, premises: PremisesId) -> Option<&str> {
        let behind = self.premises_behind(premises, &|_| false);
        behind.into_iter().find_map(|id| match self.premises(id) {
            Set::One(Premise { name, what: Presumed::Expectation { .. } | Presumed::Apart { .. }, .. }) => {
                Some(name.as_str())
            }
            _ => None,
        })
    }

    pub(crate) fn premises(&self, id: PremisesId) -> &Set {
        &self.premises[id.index()].0
    }

    /// A set and those that it is built of, in order, without what is only behind `known` ones.
    pub(crate) fn premises_behind(&self, id: PremisesId, known: &dyn Fn(PremisesId) -> bool) -> BTreeSet<PremisesId> {
        let mut found = BTreeSet::new();
        let mut stack = vec![id];
        while let Some(id) = stack.pop() {
            if !known(id)
                && found.insert(id)
                && let Set::All(parts) = self.premises(id)
            {
                stack.extend(parts);
            }
        }
        found
    }

    /// Adds a set of premises, or finds it.
    pub(crate) fn intern_premises(&mut self, set: Set) -> PremisesId {
        PremisesId::new(self.premises.insert_full(Premises(set)).0)
    }
}

impl Deriver<'_> {
    /// What is being derived presumes this, too.
    pub(crate) fn rely_on(&mut self, premises: Option<PremisesId>) {
        if let (Some(frame), Some(premises)) = (self.frames.last_mut(), premises) {
            frame.insert(premises);
        }
    }

    /// Derives something, and says what it presumes. Whoever remembers it passes that on with [`Deriver::recall`].
    pub(crate) fn noting<T, E>(&mut self, derive: impl FnOnce(&mut Self) -> Result<T, E>) -> Result<Remembered<T>, E> {
        self.open_frame();
        let value = derive(self);
        let premises = self.close_frame();
        Ok(Remembered { value: value?, premises })
    }

    /// The value of what was remembered; what is being derived presumes what it does.
    pub(crate) fn recall<T>(&mut self, known: Remembered<T>) -> T {
        self.rely_on(known.premises);
        known.value
    }

    /// From here on premises are noted apart, until [`Deriver::close_frame`].
    pub(crate) fn open_frame(&mut self) {
        self.frames.push(Frame::default());
    }

    /// What was presumed since the frame was opened; `None` if nothing.
    pub(crate) fn close_frame(&mut self) -> Option<PremisesId> {
        let frame = self.frames.pop()?;
        match frame.len() {
            0 | 1 => frame.first().copied(),
            _ => Some(self.graph.intern_premises(Set::All(frame.into_iter().collect()))),
        }
    }

    /// The expression, provided that the premises hold: [`Evaluator::value`](crate::Evaluator::value) is an error where
    /// they do not. [`Deriver::scalar`] and [`Deriver::second_moment`] hand out such expressions; for the parts of a
    /// [`ZVar`](crate::derive::ZVar) the premises are its own.
    pub fn provided(&mut self, expr: ExprId, premises: Option<PremisesId>) -> ExprId {
        let Some(premises) = premises else { return expr };
        let (exprs, variables) = self.canonical(&[expr]);
        let body = Body::Provided { value: exprs[0], premises };
        let def = self.define(Def { arity: variables.len(), body });
        let symbol = self.graph.def_symbol(def);
        self.graph.pool.reference(symbol, variables)
    }
}
