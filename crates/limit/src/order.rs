//! The order of a value in the width, and the limit of what is left when that power is taken out.
//!
//! An expression without powers of the width has the limits of its arguments put in. Otherwise it is expanded
//! ([`crate::widths`]) with the values that it mentions as symbols; where its leading term does not survive, because it
//! grows with the width or its limit is 0, the definitions of coordinatewise functions are put in and the expansion
//! starts again, so that a difference may be taken in one instruction and scaled in another.

use netsor_ir::expr::{Expr, ExprId, Symbol};
use netsor_ir::number::Power;
use netsor_ir::program::{own_indices, symbol_of, value_of};
use netsor_ir::{Dim, Index, Indices, Instr, Kind, Program, ValueId};
use num_traits::{Signed, Zero};
use rustc_hash::FxHashMap;

use crate::derive::Deriver;
use crate::error::LimitError;
use crate::graph::Graph;
use crate::widths::{Expansion, identically_zero, multiplied_out};

/// `n^power coefficient`, up to smaller terms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leading {
    pub(crate) power: Power,
    /// In base variables, data and definitions; free of the width.
    pub(crate) coefficient: ExprId,
    /// Whether the coefficient contains fluctuations, which have a law and no limit; they stand in it as the scalars
    /// that they belong to.
    pub(crate) law: bool,
}

impl Leading {
    pub(crate) fn plain(coefficient: ExprId) -> Self {
        Self { power: Power::zero(), coefficient, law: false }
    }
}

impl Deriver<'_> {
    /// The leading term of an expression over the program's values. Vectors of constant dimension are taken at
    /// `coordinate`.
    pub(crate) fn leading(
        &mut self,
        expr: ExprId,
        coordinate: Option<Index>,
        name: &str,
    ) -> Result<Leading, LimitError> {
        if !self.carries_width(expr)? {
            let coefficient = self.substituted(expr, coordinate)?;
            return Ok(Leading::plain(coefficient));
        }
        let mut expr = expr;
        loop {
            let orders = self.orders(expr)?;
            let order = |symbol: Symbol| orders.get(&symbol).copied().unwrap_or_else(Power::zero);
            let mut fresh = self.expander.fresh;
            let found = Expansion::new(&mut self.graph, &mut fresh, &order, name).leading(expr);
            self.expander.fresh = fresh;
            let Some((power, term)) = found? else {
                return Ok(Leading::plain(self.graph.pool.integer(0)));
            };
            let mut term = term;
            let mut law = self.mentions_law(term)?;
            if law {
                // Fluctuations that cancel do so identically.
                term = multiplied_out(&mut self.graph, term);
                law = self.mentions_law(term)?;
            }
            let mut coefficient = self.substituted(term, coordinate)?;
            if identically_zero(&mut self.graph, coefficient) {
                coefficient = self.graph.pool.integer(0);
            }
            if power.is_positive() || self.graph.pool.is_zero(coefficient) {
                let deeper = self.with_definitions(expr);
                if deeper != expr {
                    expr = deeper;
                    continue;
                }
            }
            return Ok(Leading { power, coefficient, law });
        }
    }

    /// The limit of a leading term, if it has one.
    pub(crate) fn limit_of(&mut self, leading: &Leading, name: &str) -> Result<ExprId, LimitError> {
        if leading.power.is_negative() {
            return Ok(self.graph.pool.integer(0));
        }
        if leading.power.is_positive() || leading.law {
            let power = leading.power.to_string();
            return Err(LimitError::NotAScalar { name: name.to_owned(), power });
        }
        Ok(leading.coefficient)
    }

    /// The mean over coordinates (ZMOMENT). Where the expectation is 0 by proof the mean fluctuates on the scale
    /// `n^(-1/2)`; it then stands for itself, as the scalar `of`.
    pub(crate) fn mean_of(
        &mut self,
        body: &Leading,
        expr: ExprId,
        of: Option<ValueId>,
        name: &str,
    ) -> Result<Leading, LimitError> {
        let mean = self.expectation(body.coefficient, name)?;
        if !self.graph.pool.is_zero(mean) || self.graph.pool.is_zero(body.coefficient) {
            return Ok(Leading { coefficient: mean, ..*body });
        }
        // A deterministic term less than n^(1/2) below is larger than the fluctuation.
        if let Some(mean) = self.lower_mean(body.power, expr, name)? {
            return Ok(mean);
        }
        let coefficient = match of {
            Some(id) => {
                let rank = self.program.value(id).ty.family.len();
                self.graph.pool.reference(symbol_of(id), own_indices(rank))
            }
            None => mean,
        };
        Ok(Leading { power: body.power - Power::new(1, 2), coefficient, law: true })
    }

    /// The largest term of the mean between `power` and `power - 1/2`, both excluded, that is not 0 by proof.
    fn lower_mean(&mut self, power: Power, expr: ExprId, name: &str) -> Result<Option<Leading>, LimitError> {
        let mut expr = expr;
        if !self.carries_width(expr)? {
            return Ok(None);
        }
        loop {
            let deeper = self.with_definitions(expr);
            if deeper == expr {
                break;
            }
            expr = deeper;
        }
        let orders = self.orders(expr)?;
        let order = |symbol: Symbol| orders.get(&symbol).copied().unwrap_or_else(Power::zero);
        let floor = power - Power::new(1, 2);
        let mut fresh = self.expander.fresh;
        let terms = Expansion::new(&mut self.graph, &mut fresh, &order, name).series(expr, floor);
        self.expander.fresh = fresh;
        for (power, term) in terms?.into_iter().filter(|&(p, _)| floor < p && p < power) {
            let law = self.mentions_law(term)?;
            let coefficient = self.substituted(term, None)?;
            let mean = self.expectation(coefficient, name)?;
            if !self.graph.pool.is_zero(mean) {
                return Ok(Some(Leading { power, coefficient: mean, law }));
            }
        }
        Ok(None)
    }

    /// Whether a power of the width is in the expression, in the definition of a function that it mentions, or in front
    /// of another value: its terms then have different orders, or none is of order 1.
    pub(crate) fn carries_width(&mut self, expr: ExprId) -> Result<bool, LimitError> {
        let mut found = false;
        self.graph.pool.visit(expr, &mut |node| found |= matches!(node, Expr::Width(_)));
        for (symbol, _) in self.graph.pool.refs(expr) {
            let z = self.z(value_of(symbol))?;
            found |= z.law || z.mixed || !z.power.is_zero();
        }
        Ok(found)
    }

    fn mentions_law(&mut self, expr: ExprId) -> Result<bool, LimitError> {
        self.graph.pool.refs(expr).into_iter().try_fold(false, |law, (s, _)| Ok(law || self.z(value_of(s))?.law))
    }

    fn orders(&mut self, expr: ExprId) -> Result<FxHashMap<Symbol, Power>, LimitError> {
        self.graph.pool.refs(expr).into_iter().map(|(s, _)| Ok((s, self.z(value_of(s))?.power))).collect()
    }

    /// The expression with every coordinatewise function and every scalar function replaced by its definition.
    fn with_definitions(&mut self, expr: ExprId) -> ExprId {
        expanded_definitions(self.program, &mut self.graph, &mut self.expander.fresh, expr)
    }

    /// The expression with every mention of a value replaced by the limit of its leading term.
    fn substituted(&mut self, expr: ExprId, coordinate: Option<Index>) -> Result<ExprId, LimitError> {
        let mut z: FxHashMap<Symbol, (ExprId, bool)> = FxHashMap::default();
        for (symbol, _) in self.graph.pool.refs(expr) {
            let value = value_of(symbol);
            let finite = matches!(self.program.value(value).ty.kind, Kind::Vector(Dim::Finite(_)));
            let of = self.z(value)?.coefficient;
            z.insert(symbol, (of, finite));
        }
        let mut fresh = self.expander.fresh;
        let result = self.graph.pool.replace_refs(expr, &mut fresh, &mut |pool, symbol, indices, _| {
            let &(expr, finite) = z.get(&symbol)?;
            let at: Indices = indices.iter().copied().chain(coordinate.filter(|_| finite)).collect();
            Some(instantiated(pool, expr, &at))
        });
        self.expander.fresh = fresh;
        Ok(result)
    }
}

/// The expression with every coordinatewise function and every scalar function replaced by its definition.
pub(crate) fn expanded_definitions(program: &Program, graph: &mut Graph, fresh: &mut u32, expr: ExprId) -> ExprId {
    graph.pool.replace_refs(expr, fresh, &mut |pool, symbol, at, _| match program.value(value_of(symbol)).instr {
        Instr::Map(definition) | Instr::Scalar(definition) => Some(instantiated(pool, definition, at)),
        _ => None,
    })
}

/// The expression with `Var(k)` replaced by `at[k]`.
fn instantiated(pool: &mut netsor_ir::Exprs, expr: ExprId, at: &Indices) -> ExprId {
    pool.map_indices(expr, &mut |index| match index {
        Index::Var(k) => at.get(k as usize).copied().unwrap_or(index),
        other => other,
    })
}
