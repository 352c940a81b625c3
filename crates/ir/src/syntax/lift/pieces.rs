//! Small pieces of syntax: numbers, scales, names, references and guards.

use num_traits::{One, Signed, Zero};

use super::{Scope, Strength};
use crate::index::{Guard, Index, Indices, Relation};
use crate::number::{Number, Power, print as print_number};
use crate::program::Scale;
use crate::syntax::ast::{
    Affine, Comparison, Entries, Expr, ExprKind, GuardText, Ident, Integer, Modulus, Name, Operator, Reference, Span,
    Term,
};

pub(super) fn is_literal(e: &Expr) -> bool {
    match &e.kind {
        ExprKind::Number { .. } => true,
        ExprKind::Neg(inner) => matches!(inner.kind, ExprKind::Number { .. }),
        _ => false,
    }
}

pub(super) fn constant(value: &Number) -> (Strength, ExprKind) {
    let kind = number(value).kind;
    let strength = match kind {
        ExprKind::Number { .. } => Strength::Atom,
        ExprKind::Neg(_) => Strength::Unary,
        _ => Strength::Multiplicative,
    };
    (strength, kind)
}

/// A number as the text has it: `2`, `0.5`, `-2`, `-1/3`.
pub(super) fn number(value: &Number) -> Expr {
    let text = print_number(&value.abs());
    let literal = |text: &str, value: Number| expr(ExprKind::Number { text: text.to_owned(), value });
    let signed = |inner: Expr| {
        if value.is_negative() { expr(ExprKind::Neg(Box::new(inner))) } else { inner }
    };
    match text.split_once('/') {
        None => signed(literal(&text, value.abs())),
        Some((above, below)) => {
            let first = signed(literal(above, Number::from_integer(value.numer().abs())));
            let rest = vec![(Operator::Div, literal(below, Number::from_integer(value.denom().clone())))];
            expr(ExprKind::Chain { first: Box::new(first), rest })
        }
    }
}

pub(super) fn power_number(p: Power) -> Number {
    Number::new((*p.numer()).into(), (*p.denom()).into())
}

/// `coefficient * n^power`, written as a reader would: `1/n`, `2/(3 * n)`, `n^(-1/2)`.
pub(super) fn scale_expr(scale: &Scale) -> Expr {
    let Scale { coefficient, power } = scale;
    let n = || expr(plain_reference("n"));
    let chain = |first: Expr, operator, second| {
        expr(ExprKind::Chain { first: Box::new(first), rest: vec![(operator, second)] })
    };
    if power.is_zero() {
        return number(coefficient);
    }
    if *power == -Power::one() {
        let text = print_number(coefficient);
        return match text.split_once('/') {
            None => chain(number(coefficient), Operator::Div, n()),
            Some(_) => {
                let above = Number::from_integer(coefficient.numer().clone());
                let below = Number::from_integer(coefficient.denom().clone());
                let product = chain(number(&below), Operator::Mul, n());
                chain(number(&above), Operator::Div, expr(ExprKind::Paren(Box::new(product))))
            }
        };
    }
    let width = if power.is_one() {
        n()
    } else {
        expr(ExprKind::Pow { base: Box::new(n()), exponent: (*power.numer(), *power.denom()) })
    };
    if coefficient.is_one() {
        return width;
    }
    match number(coefficient).kind {
        ExprKind::Chain { first, mut rest } => {
            rest.push((Operator::Mul, width));
            expr(ExprKind::Chain { first, rest })
        }
        kind => chain(expr(kind), Operator::Mul, width),
    }
}

pub(super) fn nested_entries(entries: &[Number], sizes: &[usize]) -> Entries {
    match sizes {
        [] => Entries::Number(entries.first().map_or_else(|| number(&Number::zero()), number)),
        [size, inner @ ..] => {
            let chunk = entries.len() / (*size).max(1);
            let rows = (0..*size).map(|k| nested_entries(&entries[k * chunk..(k + 1) * chunk], inner));
            Entries::List(rows.collect(), Span::default())
        }
    }
}

pub(super) fn expr(kind: ExprKind) -> Expr {
    Expr { kind, span: Span::default() }
}

pub(super) fn ident(text: &str) -> Ident {
    Ident { text: text.to_owned(), span: Span::default() }
}

pub(super) fn int(value: u32) -> Integer {
    Integer { value, span: Span::default() }
}

/// A name; its `@` parts stay inside the base, which prints the same.
pub(super) fn name(text: &str) -> Name {
    Name { base: text.to_owned(), parts: Vec::new(), span: Span::default() }
}

pub(super) fn plain_reference(text: &str) -> ExprKind {
    ExprKind::Reference(Reference { name: name(text), indices: Vec::new(), span: Span::default() })
}

pub(super) fn reference(text: &str, indices: &Indices, scope: &Scope) -> Reference {
    let indices = indices.iter().map(|&index| affine(&[(1, index)], 0, scope)).collect();
    Reference { name: name(text), indices, span: Span::default() }
}

/// `terms + constant`; 0 if it is empty.
pub(super) fn affine(terms: &[(i64, Index)], constant: i64, scope: &Scope) -> Affine {
    let mut found: Vec<Term> = Vec::new();
    for &(coefficient, index) in terms {
        match index {
            Index::At(position) => found.push(Term { coefficient: coefficient * i64::from(position), variable: None }),
            _ => found.push(Term { coefficient, variable: Some(ident(&scope.name(index))) }),
        }
    }
    if constant != 0 || found.is_empty() {
        found.push(Term { coefficient: constant, variable: None });
    }
    Affine { terms: found, span: Span::default() }
}

/// A guard, solved for its innermost variable with coefficient ±1 if it is an equation; otherwise with positive
/// coefficients on both sides.
pub(super) fn guard_text(guard: &Guard, scope: &Scope) -> GuardText {
    let (relation, modulus) = match guard.relation() {
        Relation::Eq => (Comparison::Equal, None),
        Relation::Le => (Comparison::LessEqual, None),
        Relation::EqMod(modulus) => (Comparison::Equal, Some(Modulus::Number(int(modulus)))),
    };
    let terms = guard.terms();
    let solved = match guard.relation() {
        Relation::Le => None,
        _ => terms.iter().rposition(|&(c, _)| c.abs() == 1),
    };
    let negated = |&(c, i): &(i64, Index)| (c.saturating_neg(), i);
    let (left, right) = match solved {
        Some(at) => {
            let (sign, variable) = terms[at];
            let others = terms.iter().enumerate().filter(|&(k, _)| k != at);
            let others: Vec<(i64, Index)> =
                others.map(|(_, &(c, i))| (if sign == 1 { c.saturating_neg() } else { c }, i)).collect();
            let constant = if sign == 1 { guard.constant().saturating_neg() } else { guard.constant() };
            // Positive terms first: `q = k - p`, not `q = -p + k`.
            let (mut ordered, minus): (Vec<_>, Vec<_>) = others.into_iter().partition(|&(c, _)| 0 < c);
            ordered.extend(minus);
            (affine(&[(1, variable)], 0, scope), affine(&ordered, constant, scope))
        }
        None => {
            let plus: Vec<(i64, Index)> = terms.iter().filter(|(c, _)| 0 < *c).copied().collect();
            let minus: Vec<(i64, Index)> = terms.iter().filter(|(c, _)| *c < 0).map(negated).collect();
            let constant = guard.constant();
            let (left, right) = if 0 < constant { (constant, 0) } else { (0, constant.saturating_neg()) };
            (affine(&plus, left, scope), affine(&minus, right, scope))
        }
    };
    GuardText { left, relation, right, modulus }
}
