//! Expressions, indices and guards.

use super::{Parse, Parser};
use crate::diagnostic::Diagnostic;
use crate::number::{Number, Power, parse_decimal};
use crate::syntax::ast::{
    Affine, Binder, Comparison, Expr, ExprKind, GuardText, Ident, Modulus, Name, Operator, Reference, Span, Term,
};
use crate::syntax::lexer::Token;
use num_traits::ToPrimitive;

/// Largest integer in an index expression or guard.
pub(crate) const MAX_INDEX_LITERAL: i64 = 1 << 53;
/// Largest coefficient of a variable in a guard.
pub(crate) const MAX_COEFFICIENT: i64 = 1 << 20;
/// Most terms on one side of a guard.
const MAX_TERMS: usize = 64;
/// Largest numerator and denominator of an exponent.
pub(crate) const MAX_POWER: i64 = 1_000_000;

impl Parser<'_> {
    /// A sum of products.
    pub(super) fn expr(&mut self) -> Parse<Expr> {
        self.nested(|p| {
            p.chain(
                |t| match t {
                    Token::Plus => Some(Operator::Add),
                    Token::Minus => Some(Operator::Sub),
                    _ => None,
                },
                Self::product,
            )
        })
    }

    fn product(&mut self) -> Parse<Expr> {
        self.chain(
            |t| match t {
                Token::Star => Some(Operator::Mul),
                Token::Slash => Some(Operator::Div),
                _ => None,
            },
            Self::unary,
        )
    }

    fn chain(&mut self, operator: fn(Token) -> Option<Operator>, operand: fn(&mut Self) -> Parse<Expr>) -> Parse<Expr> {
        let first = operand(self)?;
        let mut rest = Vec::new();
        while let Some(op) = operator(self.token()) {
            self.position += 1;
            self.skip_newlines();
            rest.push((op, operand(self)?));
        }
        if rest.is_empty() {
            return Ok(first);
        }
        let span = first.span.to(self.last_span());
        Ok(Expr { kind: ExprKind::Chain { first: Box::new(first), rest }, span })
    }

    fn unary(&mut self) -> Parse<Expr> {
        let start = self.span();
        if self.eat(Token::Minus) {
            let inner = self.nested(Self::unary)?;
            let span = start.to(inner.span);
            return Ok(Expr { kind: ExprKind::Neg(Box::new(inner)), span });
        }
        if self.is_word("sum") {
            return self.sum();
        }
        let base = self.primary()?;
        if !self.eat(Token::Caret) {
            return Ok(base);
        }
        let exponent = self.exponent()?;
        let span = base.span.to(self.last_span());
        if self.token() == Token::Caret {
            let here = self.span();
            let problem = Diagnostic::new("syntax", "powers of powers need parentheses", here.into())
                .label("second `^`")
                .help("write `(x^2)^3`");
            return self.fail(problem);
        }
        Ok(Expr { kind: ExprKind::Pow { base: Box::new(base), exponent }, span })
    }

    fn sum(&mut self) -> Parse<Expr> {
        let start = self.span();
        self.position += 1;
        let mut binders = Vec::new();
        if self.token() != Token::OpenBracket {
            loop {
                binders.push(self.binder("an index variable to sum over")?);
                if !self.eat(Token::Comma) {
                    break;
                }
            }
        }
        let mut guards = Vec::new();
        while self.token() == Token::OpenBracket {
            guards.push(self.guard()?);
        }
        let body = self.expr()?;
        let span = start.to(body.span);
        Ok(Expr { kind: ExprKind::Sum { binders, guards, body: Box::new(body) }, span })
    }

    fn guard(&mut self) -> Parse<GuardText> {
        let open = self.open(Token::OpenBracket)?;
        let left = self.affine()?;
        let relation = match self.token() {
            Token::Equal => Comparison::Equal,
            Token::LessEqual => Comparison::LessEqual,
            Token::Less => Comparison::Less,
            Token::GreaterEqual => Comparison::GreaterEqual,
            Token::Greater => Comparison::Greater,
            _ => {
                let problem = self
                    .unexpected("`=`, `<=`, `<`, `>=` or `>`")
                    .help("after the variables of a sum, brackets hold a condition such as `[q = p + 1]`");
                return self.fail(problem);
            }
        };
        self.position += 1;
        let right = self.affine()?;
        let modulus = if self.eat_word("mod") {
            Some(match self.token() {
                Token::Ident => Modulus::Axis(self.identifier("a number or an axis")?),
                _ => Modulus::Number(self.integer("a number or an axis")?),
            })
        } else {
            None
        };
        self.close(Token::CloseBracket, open)?;
        Ok(GuardText { left, relation, right, modulus })
    }

    fn primary(&mut self) -> Parse<Expr> {
        let span = self.span();
        match self.token() {
            Token::Number => self.number(),
            Token::OpenParen => {
                let open = self.open(Token::OpenParen)?;
                let inner = self.expr()?;
                let end = self.close(Token::CloseParen, open)?;
                Ok(Expr { kind: ExprKind::Paren(Box::new(inner)), span: open.to(end) })
            }
            Token::Ident if self.text() == "pi" => {
                self.position += 1;
                let name = Name { base: "pi".into(), parts: Vec::new(), span };
                Ok(Expr { kind: ExprKind::Reference(Reference { name, indices: Vec::new(), span }), span })
            }
            Token::Ident if self.second() == Token::OpenParen => self.call(),
            Token::Ident => {
                let reference = self.reference("an expression")?;
                if self.eat(Token::Prime) {
                    let span = reference.span.to(self.last_span());
                    return Ok(Expr { kind: ExprKind::Transposed(reference), span });
                }
                let span = reference.span;
                Ok(Expr { kind: ExprKind::Reference(reference), span })
            }
            _ => {
                let problem = self.unexpected("an expression");
                self.fail(problem)
            }
        }
    }

    /// A literal; the parser of decimals says what is too long.
    pub(super) fn number(&mut self) -> Parse<Expr> {
        let span = self.span();
        if self.token() != Token::Number {
            let problem = self.unexpected("a number");
            return self.fail(problem);
        }
        let text = self.text().to_owned();
        let Some(value) = parse_decimal(&text) else {
            let problem = Diagnostic::new("number-too-long", "this number is too long", span.into())
                .label("more than 400 digits, or an exponent above 400");
            return self.fail(problem);
        };
        self.position += 1;
        Ok(Expr { kind: ExprKind::Number { text, value }, span })
    }

    fn call(&mut self) -> Parse<Expr> {
        let function = self.identifier("a function")?;
        let open = self.open(Token::OpenParen)?;
        let mut arguments = Vec::new();
        while self.token() != Token::CloseParen {
            arguments.push(self.expr()?);
            if !self.eat(Token::Comma) {
                break;
            }
        }
        let end = self.close(Token::CloseParen, open)?;
        let span = function.span.to(end);
        Ok(Expr { kind: ExprKind::Call { function, arguments }, span })
    }

    /// `2`, `-1`, `0.5`, `(1/2)`, `(-1/2)`
    fn exponent(&mut self) -> Parse<(i64, i64)> {
        let start = self.span();
        let value = if self.token() == Token::OpenParen {
            let open = self.open(Token::OpenParen)?;
            let negative = self.eat(Token::Minus);
            let mut value = self.literal()?;
            if self.eat(Token::Slash) {
                let below = self.literal()?;
                if num_traits::Zero::is_zero(&below) {
                    let span = self.last_span();
                    return self.fail(Diagnostic::new("division-by-zero", "division by zero", span.into()));
                }
                value /= below;
            }
            self.close(Token::CloseParen, open)?;
            if negative { -value } else { value }
        } else {
            let negative = self.eat(Token::Minus);
            let value = self.literal()?;
            if negative { -value } else { value }
        };
        let parts = value.numer().to_i64().zip(value.denom().to_i64());
        match parts.filter(|&(p, q)| p.abs() <= MAX_POWER && q <= MAX_POWER) {
            Some((p, q)) => {
                let power = Power::new(p, q);
                Ok((*power.numer(), *power.denom()))
            }
            None => {
                let span = start.to(self.last_span());
                self.fail(
                    Diagnostic::new("exponent-too-large", "this exponent is too large", span.into())
                        .label("numerator and denominator may be at most 1000000"),
                )
            }
        }
    }

    fn literal(&mut self) -> Parse<Number> {
        if self.token() != Token::Number {
            let problem = self
                .unexpected("a number as the exponent")
                .help("exponents are rational numbers: `x^2`, `x^-1`, `x^(1/2)`; write `exp(p * log(x))` for others");
            return self.fail(problem);
        }
        let Expr { kind: ExprKind::Number { value, .. }, .. } = self.number()? else {
            unreachable!("number() makes number nodes")
        };
        Ok(value)
    }

    /// `name@part[indices]`
    pub(super) fn reference(&mut self, expected: &str) -> Parse<Reference> {
        let name = self.name(expected)?;
        let start = name.span;
        let mut indices = Vec::new();
        if self.token() == Token::OpenBracket {
            let open = self.open(Token::OpenBracket)?;
            while self.token() != Token::CloseBracket {
                indices.push(self.affine()?);
                if !self.eat(Token::Comma) {
                    break;
                }
            }
            self.close(Token::CloseBracket, open)?;
        }
        Ok(Reference { name, indices, span: start.to(self.last_span()) })
    }

    /// An identifier with `@` parts.
    pub(super) fn name(&mut self, expected: &str) -> Parse<Name> {
        let base = self.identifier(expected)?;
        let mut parts = Vec::new();
        while self.eat(Token::At) {
            let span = self.span();
            parts.push(match self.token() {
                Token::Number => {
                    let value = self.integer("a number, a loop variable or parentheses after `@`")?;
                    let term = Term { coefficient: value.value.into(), variable: None };
                    Affine { terms: vec![term], span }
                }
                Token::OpenParen => {
                    let open = self.open(Token::OpenParen)?;
                    let inner = self.affine()?;
                    self.close(Token::CloseParen, open)?;
                    inner
                }
                _ => {
                    let variable = self.identifier("a number, a loop variable or parentheses after `@`")?;
                    Affine { terms: vec![Term { coefficient: 1, variable: Some(variable) }], span }
                }
            });
        }
        Ok(Name { span: base.span.to(self.last_span()), base: base.text, parts })
    }

    /// An index variable with its primes.
    pub(super) fn index_name(&mut self, expected: &str) -> Parse<Ident> {
        let mut ident = self.identifier(expected)?;
        while self.eat(Token::Prime) {
            ident.text.push('\'');
            ident.span = ident.span.to(self.last_span());
        }
        Ok(ident)
    }

    /// `i` or `p in pos`.
    pub(super) fn binder(&mut self, expected: &str) -> Parse<Binder> {
        let name = self.index_name(expected)?;
        let axis = if self.eat_word("in") { Some(self.identifier("an axis")?) } else { None };
        Ok(Binder { name, axis })
    }

    /// `2*p + k - 1`
    pub(super) fn affine(&mut self) -> Parse<Affine> {
        let start = self.span();
        let mut terms = Vec::new();
        let mut sign = if self.eat(Token::Minus) { -1 } else { 1 };
        loop {
            terms.push(self.term(sign)?);
            sign = match self.token() {
                Token::Plus => 1,
                Token::Minus => -1,
                _ => break,
            };
            self.position += 1;
        }
        let span = start.to(self.last_span());
        if MAX_TERMS < terms.len() {
            let problem = Diagnostic::new("index-too-long", "this index expression is too long", span.into())
                .label(format!("more than {MAX_TERMS} terms"));
            return self.fail(problem);
        }
        Ok(Affine { terms, span })
    }

    fn term(&mut self, sign: i64) -> Parse<Term> {
        const EXPECTED: &str = "an index variable or a whole number";
        if self.token() == Token::Ident {
            let variable = self.index_name(EXPECTED)?;
            let coefficient = if self.eat(Token::Star) { self.index_literal(MAX_COEFFICIENT)? } else { 1 };
            return Ok(Term { coefficient: sign * coefficient, variable: Some(variable) });
        }
        if self.token() != Token::Number {
            let problem = self.unexpected(EXPECTED);
            return self.fail(problem);
        }
        let times = self.second() == Token::Star;
        let value = self.index_literal(if times { MAX_COEFFICIENT } else { MAX_INDEX_LITERAL })?;
        let variable = if self.eat(Token::Star) { Some(self.index_name("an index variable")?) } else { None };
        Ok(Term { coefficient: sign * value, variable })
    }

    fn index_literal(&mut self, most: i64) -> Parse<i64> {
        let span: Span = self.span();
        if self.token() == Token::Number
            && let Some(value) = self.text().parse::<i64>().ok().filter(|&v| v <= most)
        {
            self.position += 1;
            return Ok(value);
        }
        let problem = Diagnostic::new("syntax", "expected a whole number in an index", span.into())
            .label(format!("must be a whole number of at most {most}"));
        self.fail(problem)
    }
}
