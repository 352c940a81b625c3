//! The order of a value in the width, and the limit of what is left when that power is taken out.
//!
//! An expression without powers of the width has the limits of its arguments put in. Otherwise it is expanded
//! ([`crate::widths`]) with the values that it mentions as symbols; where its leading term does not survive, because it
//! grows with the width or its limit is 0, the definitions of coordinatewise functions are put in and the expansion
//! starts again, so that a difference may be taken in one instruction and scaled in another.

use netsor_ir::expr::{Expr, ExprId, Symbol};
use netsor_ir::number::Power;
use netsor_ir::program::value_of;
use netsor_ir::{Index, Indices, Instr, ValueId};
use num_traits::{Signed, Zero};
use rustc_hash::FxHashMap;

use crate::error::LimitError;
use crate::rules::Rules;
use crate::widths::{Expansion, multiplied_out};

/// `n^power coefficient`, up to smaller terms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leading<C = ExprId> {
    pub(crate) power: Power,
    /// In base variables, data and definitions; free of the width.
    pub(crate) coefficient: C,
    /// Whether the coefficient contains fluctuations, which have a law and no limit; they stand in it as the scalars
    /// that they belong to.
    pub(crate) law: bool,
}

impl<C> Leading<C> {
    pub(crate) fn plain(coefficient: C) -> Self {
        Self { power: Power::zero(), coefficient, law: false }
    }
}

/// How a value depends on the width.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    /// The power of its leading term.
    pub(crate) power: Power,
    /// As in [`Leading`].
    pub(crate) law: bool,
    /// Whether its definition has terms of several orders.
    pub(crate) mixed: bool,
}

/// Orders by the rules.
pub(crate) trait Orders<'p>: Rules<'p> {
    /// The leading term of an expression over the program's values. Vectors of constant dimension are taken at
    /// `coordinate`.
    fn leading(
        &mut self,
        expr: ExprId,
        coordinate: Option<Self::Coordinate>,
        name: &str,
    ) -> Result<Leading<Self::Coefficient>, Self::Error> {
        if !self.carries_width(expr)? {
            return Ok(Leading::plain(self.put_in(expr, coordinate, name)?));
        }
        let mut expr = expr;
        loop {
            let orders = self.orders(expr)?;
            let order = |symbol: Symbol| orders.get(&symbol).copied().unwrap_or_else(Power::zero);
            let (graph, fresh) = self.terms();
            let found = Expansion::new(graph, fresh, &order, name).leading(expr)?;
            let Some((power, term)) = found else { return Ok(Leading::plain(self.zero())) };
            let mut term = term;
            let mut law = self.mentions_law(term)?;
            if law {
                // Fluctuations that cancel do so identically.
                term = multiplied_out(self.terms().0, term);
                law = self.mentions_law(term)?;
            }
            let coefficient = self.put_in(term, coordinate, name)?;
            let coefficient = self.settled(coefficient);
            if power.is_positive() || self.is_zero(&coefficient) {
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
    fn limit_of(&mut self, leading: Leading<Self::Coefficient>, name: &str) -> Result<Self::Coefficient, Self::Error> {
        if leading.power.is_negative() {
            return Ok(self.zero());
        }
        if leading.power.is_positive() || leading.law {
            let power = leading.power.to_string();
            return Err(LimitError::NotAScalar { name: name.to_owned(), power }.into());
        }
        Ok(leading.coefficient)
    }

    /// The mean over coordinates (ZMOMENT). Where the expectation is 0 by proof the mean fluctuates on the scale
    /// `n^(-1/2)`; it then stands for itself, as the scalar `of`.
    fn mean_of(
        &mut self,
        body: Leading<Self::Coefficient>,
        expr: ExprId,
        of: Option<ValueId>,
        name: &str,
    ) -> Result<Leading<Self::Coefficient>, Self::Error> {
        let mean = self.expectation(&body.coefficient, name)?;
        if !self.is_zero(&mean) || self.is_zero(&body.coefficient) {
            return Ok(Leading { coefficient: mean, ..body });
        }
        // A deterministic term less than n^(1/2) below is larger than the fluctuation.
        if let Some(mean) = self.lower_mean(body.power, expr, name)? {
            return Ok(mean);
        }
        let coefficient = of.map_or(mean, |value| self.fluctuation(value));
        Ok(Leading { power: body.power - Power::new(1, 2), coefficient, law: true })
    }

    /// The largest term of the mean between `power` and `power - 1/2`, both excluded, that is not 0 by proof.
    fn lower_mean(
        &mut self,
        power: Power,
        expr: ExprId,
        name: &str,
    ) -> Result<Option<Leading<Self::Coefficient>>, Self::Error> {
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
        let (graph, fresh) = self.terms();
        let terms = Expansion::new(graph, fresh, &order, name).series(expr, floor)?;
        for (power, term) in terms.into_iter().filter(|&(p, _)| floor < p && p < power) {
            let law = self.mentions_law(term)?;
            let coefficient = self.put_in(term, None, name)?;
            let mean = self.expectation(&coefficient, name)?;
            if !self.is_zero(&mean) {
                return Ok(Some(Leading { power, coefficient: mean, law }));
            }
        }
        Ok(None)
    }

    /// Whether a power of the width is in the expression, in the definition of a function that it mentions, or in front
    /// of another value: its terms then have different orders, or none is of order 1.
    fn carries_width(&mut self, expr: ExprId) -> Result<bool, Self::Error> {
        let mut found = false;
        self.pool().visit(expr, &mut |node| found |= matches!(node, Expr::Width(_)));
        for (symbol, _) in self.pool().refs(expr) {
            let order = self.derive(value_of(symbol))?;
            found |= order.law || order.mixed || !order.power.is_zero();
        }
        Ok(found)
    }

    /// Whether the expression mentions a value that fluctuates.
    fn mentions_law(&mut self, expr: ExprId) -> Result<bool, Self::Error> {
        self.pool().refs(expr).into_iter().try_fold(false, |law, (s, _)| Ok(law || self.derive(value_of(s))?.law))
    }

    /// The powers of the width of the values that the expression mentions.
    fn orders(&mut self, expr: ExprId) -> Result<FxHashMap<Symbol, Power>, Self::Error> {
        self.pool().refs(expr).into_iter().map(|(s, _)| Ok((s, self.derive(value_of(s))?.power))).collect()
    }

    /// The expression with every coordinatewise function and every scalar function replaced by its definition.
    fn with_definitions(&mut self, expr: ExprId) -> ExprId {
        let program = self.program();
        let (graph, fresh) = self.terms();
        graph.pool.replace_refs(expr, fresh, &mut |pool, symbol, at, _| match program.value(value_of(symbol)).instr {
            Instr::Map(definition) | Instr::Scalar(definition) => Some(instantiated(pool, definition, at)),
            _ => None,
        })
    }
}

impl<'p, R: Rules<'p>> Orders<'p> for R {}

/// The expression with `Var(k)` replaced by `at[k]`.
pub(crate) fn instantiated(pool: &mut netsor_ir::Exprs, expr: ExprId, at: &Indices) -> ExprId {
    pool.map_indices(expr, &mut |index| match index {
        Index::Var(k) => at.get(k as usize).copied().unwrap_or(index),
        other => other,
    })
}
