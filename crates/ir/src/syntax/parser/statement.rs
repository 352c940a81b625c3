//! Statements.

use super::{Failed, Parse, Parser};
use crate::diagnostic::Diagnostic;
use crate::syntax::ast::{
    Binder, Body, Cross, Definition, Dimension, Entries, Expr, ExprKind, Ident, Law, LoopRange, Name, Setting,
    SettingKey, StackItems, Statement, StatementKind,
};
use crate::syntax::lexer::Token;
use crate::syntax::names::{KEYWORDS, closest};

impl Parser<'_> {
    /// One statement; if it is broken, the position is moved to the next one.
    pub(super) fn statement(&mut self) -> Statement {
        let start = self.position;
        let first = self.span();
        let kind = match self.statement_kind().and_then(|kind| self.end_of_statement().map(|()| kind)) {
            Ok(kind) => kind,
            Err(Failed) => {
                let name = self.name_defined_at(start);
                self.recover(start);
                StatementKind::Broken { name }
            }
        };
        let span = first.to(self.last_span());
        Statement { before: Vec::new(), kind, span, after: None }
    }

    fn statement_kind(&mut self) -> Parse<StatementKind> {
        if self.token() != Token::Ident {
            let problem = self.unexpected("a statement");
            return self.fail(problem);
        }
        match self.text() {
            "axis" => {
                self.position += 1;
                let name = self.identifier("the name of the axis")?;
                self.expect(Token::Equal, "`=` and the number of positions")?;
                let size = self.integer("the number of positions")?;
                Ok(StatementKind::Axis { name, size })
            }
            "width" => {
                self.position += 1;
                let name = self.identifier("the name of the width")?;
                self.expect(Token::Equal, "`=` and a multiple of `n`")?;
                let ratio = self.expr()?;
                Ok(StatementKind::Width { name, ratio })
            }
            "table" => {
                self.position += 1;
                let name = self.identifier("the name of the table")?;
                let binders = self.binders()?;
                self.expect(Token::Equal, "`=` and the entries")?;
                self.skip_newlines();
                let entries = self.entries()?;
                Ok(StatementKind::Table { name, binders, entries })
            }
            "for" => self.for_loop(),
            "program" | "network" => {
                let word = self.text().to_owned();
                let span = self.span();
                let problem = Diagnostic::new("syntax", format!("a {word} inside another item"), span.into())
                    .label("is the `}` of the item before missing?");
                self.fail(problem)
            }
            _ => self.definition().map(|d| StatementKind::Def(Box::new(d))),
        }
    }

    fn for_loop(&mut self) -> Parse<StatementKind> {
        self.position += 1;
        let header = self.identifier("a loop variable").and_then(|variable| {
            if !self.eat_word("in") {
                let problem = self.unexpected("`in`");
                return self.fail(problem);
            }
            Ok((variable, self.range()?))
        });
        if header.is_err() {
            // Pass over the rest of the header, so that the body is still understood.
            while !matches!(self.raw(self.position).0, Token::Newline | Token::OpenBrace | Token::End) {
                self.position += 1;
            }
            self.brackets = 0;
        }
        let open = self.expect(Token::OpenBrace, "`{`")?;
        let body = self.nested(|p| Ok(p.block(open)))?;
        let (variable, range) = header?;
        Ok(StatementKind::For { variable, range, body })
    }

    fn range(&mut self) -> Parse<LoopRange> {
        let low = self.affine()?;
        let inclusive = self.eat(Token::RangeInclusive);
        if !inclusive {
            self.expect(Token::Range, "`..=`")?;
        }
        let high = self.affine()?;
        Ok(LoopRange { low, inclusive, high })
    }

    fn definition(&mut self) -> Parse<Definition> {
        let output = self.eat_word("output");
        let keyword = if self.token() == Token::Ident { self.text().to_owned() } else { String::new() };
        let body: fn(&mut Self) -> Parse<Body> = match keyword.as_str() {
            "data" => Self::data,
            "matrix" => Self::matrix,
            "vector" => Self::vector,
            "param" => Self::param,
            "const" => Self::constant,
            "moment" => Self::moment,
            "scalar" => Self::scalar,
            "stack" => Self::stack,
            _ => return self.plain(output),
        };
        self.position += 1;
        let name = self.name("a name")?;
        let binders = self.binders()?;
        Ok(Definition { output, name, binders, body: body(self)? })
    }

    /// `name[i] = ...`, or something that is not a statement.
    fn plain(&mut self, output: bool) -> Parse<Definition> {
        let word = if self.token() == Token::Ident { self.text().to_owned() } else { String::new() };
        let word_span = self.span();
        let name = self.name("a statement")?;
        // `vectr a ~ ...`: a name where the operator should be.
        if self.token() == Token::Ident {
            let mut problem = self.unexpected("`=`");
            if let Some(meant) = closest(&word, KEYWORDS) {
                problem = Diagnostic::new("syntax", format!("unknown keyword `{word}`"), word_span.into())
                    .label("no statement begins with this")
                    .help(format!("did you mean `{meant}`?"));
            }
            return self.fail(problem);
        }
        let binders = self.binders()?;
        let dim = if self.eat(Token::Colon) { Some(self.dimension()?) } else { None };
        if self.token() == Token::Tilde {
            let problem = self
                .unexpected("`=`")
                .help(format!("initial tensors begin with `matrix`, `vector` or `param`: `vector {word} ~ N(0, 1)`"));
            return self.fail(problem);
        }
        self.expect(Token::Equal, "`=` and a definition")?;
        self.skip_newlines();
        let value = self.expr()?;
        Ok(Definition { output, name, binders, body: Body::Plain { dim, value } })
    }

    fn data(&mut self) -> Parse<Body> {
        let dim = if self.eat(Token::Colon) { Some(self.dimension()?) } else { None };
        Ok(Body::Data { dim })
    }

    fn matrix(&mut self) -> Parse<Body> {
        let dims = if self.eat(Token::Colon) {
            let rows = self.dimension()?;
            if !self.eat_word("x") {
                let problem = self.unexpected("`x` and the number of columns");
                return self.fail(problem);
            }
            Some((rows, self.dimension()?))
        } else {
            None
        };
        Ok(Body::Matrix { dims, law: self.law("~ N(0, 1/n)")? })
    }

    fn vector(&mut self) -> Parse<Body> {
        let dim = if self.eat(Token::Colon) { Some(self.dimension()?) } else { None };
        Ok(Body::Vector { dim, law: self.law("~ N(0, 1)")? })
    }

    fn param(&mut self) -> Parse<Body> {
        if self.token() != Token::Colon {
            let problem = self
                .unexpected("`:` and the dimensions")
                .help("a parameter says its dimensions: `param W : n x n ~ N(0, 1/n)` or `param b : n ~ N(0, 1)`");
            return self.fail(problem);
        }
        self.position += 1;
        let first = self.dimension()?;
        let second = if self.eat_word("x") { Some(self.dimension()?) } else { None };
        let law = self.law("~ N(0, 1/n)")?;
        let frozen = self.eat_word("frozen");
        let mut settings = Vec::new();
        if self.eat_word("with") {
            loop {
                self.skip_newlines();
                settings.push(self.setting()?);
                if !self.eat(Token::Comma) {
                    break;
                }
            }
        }
        Ok(Body::Param { dims: (first, second), law, frozen, settings })
    }

    fn setting(&mut self) -> Parse<Setting> {
        let start = self.span();
        let key = match self.token() {
            Token::Ident => match self.text() {
                "a" => Some(SettingKey::A),
                "b" => Some(SettingKey::B),
                "c" => Some(SettingKey::C),
                "multiplier" => Some(SettingKey::Multiplier),
                _ => None,
            },
            _ => None,
        };
        let Some(mut key) = key else {
            let problem = self.unexpected("`a`, `b`, `c`, `multiplier` or `multiplier^2`");
            return self.fail(problem);
        };
        self.position += 1;
        if key == SettingKey::Multiplier && self.eat(Token::Caret) {
            let two = self.integer("`2`")?;
            if two.value != 2 {
                let problem =
                    Diagnostic::new("syntax", "only the square of the multiplier can be given", two.span.into())
                        .label("expected `2`");
                return self.fail(problem);
            }
            key = SettingKey::MultiplierSquared;
        }
        self.expect(Token::Equal, "`=`")?;
        let value = self.expr()?;
        Ok(Setting { key, span: start.to(value.span), value })
    }

    fn constant(&mut self) -> Parse<Body> {
        self.expect(Token::Colon, "`:` and the dimension")?;
        let dim = self.dimension()?;
        self.expect(Token::Equal, "`=` and a table")?;
        let table = self.reference("a table")?;
        Ok(Body::Constant { dim, table })
    }

    fn moment(&mut self) -> Parse<Body> {
        self.expect(Token::Equal, "`= mean(...)`")?;
        self.skip_newlines();
        if !self.is_word("mean") || self.second() != Token::OpenParen {
            let problem = self
                .unexpected("`mean(...)`")
                .help("a moment is the mean over coordinates: `moment m = mean(x * y)`; functions of scalars are `scalar s = ...`");
            return self.fail(problem);
        }
        self.position += 1;
        let open = self.open(Token::OpenParen)?;
        let value = self.expr()?;
        self.close(Token::CloseParen, open)?;
        if matches!(self.token(), Token::Star | Token::Slash | Token::Plus | Token::Minus | Token::Caret) {
            let problem = self
                .unexpected("the end of the line")
                .help("`mean(...)` stands alone: name the moment, and compute with it in a `scalar s = ...`");
            return self.fail(problem);
        }
        Ok(Body::Moment { value })
    }

    fn scalar(&mut self) -> Parse<Body> {
        self.expect(Token::Equal, "`=` and an expression")?;
        self.skip_newlines();
        Ok(Body::Scalar { value: self.expr()? })
    }

    fn stack(&mut self) -> Parse<Body> {
        self.expect(Token::Equal, "`=` and the members")?;
        self.skip_newlines();
        let first = self.expr()?;
        if self.eat_word("for") {
            let variable = self.identifier("a loop variable")?;
            if !self.eat_word("in") {
                let problem = self.unexpected("`in`");
                return self.fail(problem);
            }
            let range = self.range()?;
            return Ok(Body::Stack { items: StackItems::Each { item: Box::new(first), variable, range } });
        }
        let mut members = vec![first];
        while self.eat(Token::Comma) {
            self.skip_newlines();
            members.push(self.expr()?);
        }
        Ok(Body::Stack { items: StackItems::List(members) })
    }

    fn law(&mut self, example: &str) -> Parse<Law> {
        if self.token() != Token::Tilde {
            let problem = self.unexpected("`~` and a law").help(format!("for example `{example}`"));
            return self.fail(problem);
        }
        self.position += 1;
        if !self.is_word("N") || self.second() != Token::OpenParen {
            let problem = self.unexpected("`N(mean, variance)`");
            return self.fail(problem);
        }
        self.position += 1;
        let open = self.open(Token::OpenParen)?;
        let mean = self.expr()?;
        self.expect(Token::Comma, "`,` and the variance")?;
        let covariance = self.expr()?;
        self.close(Token::CloseParen, open)?;
        let joint = self.eat_word("joint");
        let mut cross = Vec::new();
        while self.eat(Token::Comma) {
            self.skip_newlines();
            cross.push(self.cross()?);
        }
        Ok(Law { mean, covariance, joint, cross })
    }

    fn cross(&mut self) -> Parse<Cross> {
        let start = self.span();
        if !self.eat_word("cov") {
            let problem = self.unexpected("`cov(...) = ...`");
            return self.fail(problem);
        }
        let open = self.open(Token::OpenParen)?;
        let with = self.name("an earlier initial vector")?;
        let mut binders = Vec::new();
        if self.token() == Token::OpenBracket {
            let bracket = self.open(Token::OpenBracket)?;
            while self.token() != Token::CloseBracket {
                binders.push(self.index_name("an index variable")?);
                if !self.eat(Token::Comma) {
                    break;
                }
            }
            self.close(Token::CloseBracket, bracket)?;
        }
        self.close(Token::CloseParen, open)?;
        self.expect(Token::Equal, "`=` and a covariance")?;
        let value = self.expr()?;
        Ok(Cross { with, binders, span: start.to(value.span), value })
    }

    fn dimension(&mut self) -> Parse<Dimension> {
        match self.token() {
            Token::Number => self.integer("a dimension").map(Dimension::Finite),
            Token::Ident if self.text() == "scalar" => {
                self.position += 1;
                Ok(Dimension::Scalar(self.last_span()))
            }
            _ => self.identifier("a dimension: a width such as `n`, or a number").map(Dimension::Width),
        }
    }

    /// `[i, p in pos]` after the name of a definition.
    fn binders(&mut self) -> Parse<Vec<Binder>> {
        let mut binders = Vec::new();
        if self.token() != Token::OpenBracket {
            return Ok(binders);
        }
        let open = self.open(Token::OpenBracket)?;
        while self.token() != Token::CloseBracket {
            if self.token() == Token::Number {
                let problem = self
                    .unexpected("an index variable")
                    .help("a definition is for all positions at once; single values are named with `@`: `h@1 = ...`");
                return self.fail(problem);
            }
            binders.push(self.binder("an index variable")?);
            if !self.eat(Token::Comma) {
                break;
            }
        }
        self.close(Token::CloseBracket, open)?;
        Ok(binders)
    }

    /// Entries of a table.
    fn entries(&mut self) -> Parse<Entries> {
        if self.token() != Token::OpenBracket {
            return self.entry().map(Entries::Number);
        }
        self.nested(|p| {
            let open = p.open(Token::OpenBracket)?;
            let mut members = Vec::new();
            while p.token() != Token::CloseBracket {
                members.push(p.entries()?);
                if !p.eat(Token::Comma) {
                    break;
                }
            }
            let end = p.close(Token::CloseBracket, open)?;
            Ok(Entries::List(members, open.to(end)))
        })
    }

    /// `2`, `-0.5` or `1/3`.
    fn entry(&mut self) -> Parse<Expr> {
        let start = self.span();
        let negative = self.eat(Token::Minus);
        let mut value = self.number()?;
        if negative {
            let span = start.to(value.span);
            value = Expr { kind: ExprKind::Neg(Box::new(value)), span };
        }
        if self.eat(Token::Slash) {
            let below = self.number()?;
            let span = start.to(below.span);
            let rest = vec![(crate::syntax::ast::Operator::Div, below)];
            value = Expr { kind: ExprKind::Chain { first: Box::new(value), rest }, span };
        }
        Ok(value)
    }

    fn end_of_statement(&mut self) -> Parse<()> {
        if matches!(self.token(), Token::Newline | Token::CloseBrace | Token::End) {
            return Ok(());
        }
        let next = self.token();
        let mut problem = self.unexpected("the end of the line");
        if matches!(next, Token::Ident | Token::Number | Token::OpenParen) {
            problem = problem.help("a product is written with `*`");
        }
        if next == Token::Prime {
            problem = problem.help("only a matrix at the start of a product is transposed: `k = W' * x`");
        }
        self.fail(problem)
    }

    /// Moves to the next line that looks like a statement.
    fn recover(&mut self, start: usize) {
        self.brackets = 0;
        let looks_like_statement = |token: Token| matches!(token, Token::Ident | Token::CloseBrace | Token::End);
        // The error may already be at the first token of the next statement: a bracket was never closed.
        let here = self.raw(self.position).0;
        if start < self.position
            && looks_like_statement(here)
            && (here == Token::End || self.raw(self.position - 1).0 == Token::Newline)
        {
            self.position -= usize::from(self.raw(self.position - 1).0 == Token::Newline);
            return;
        }
        loop {
            match self.raw(self.position).0 {
                Token::End | Token::CloseBrace => return,
                Token::OpenBrace => {
                    // A block in a place where none was expected: pass over all of it.
                    let mut open = 0usize;
                    loop {
                        match self.raw(self.position).0 {
                            Token::OpenBrace => open += 1,
                            Token::CloseBrace => open -= 1,
                            Token::End => return,
                            _ => {}
                        }
                        self.position += 1;
                        if open == 0 {
                            break;
                        }
                    }
                }
                Token::Newline => {
                    let mut next = self.position;
                    while self.raw(next).0 == Token::Newline {
                        next += 1;
                    }
                    if looks_like_statement(self.raw(next).0) {
                        return;
                    }
                    self.position = next;
                }
                _ => self.position += 1,
            }
        }
    }

    /// The name that the statement starting at token `start` would have defined.
    fn name_defined_at(&self, start: usize) -> Option<Ident> {
        for at in start..(start + 3).min(self.tokens.len()) {
            let (token, span) = self.tokens[at];
            if token != Token::Ident {
                return None;
            }
            let text = &self.source[std::ops::Range::from(span)];
            if !KEYWORDS.contains(&text) {
                let second = self.raw(at + 1).0;
                // A misspelled keyword in front of the name.
                if at == start && second == Token::Ident {
                    continue;
                }
                let name = Name { base: text.to_owned(), parts: Vec::new(), span };
                return Some(Ident { text: name.base, span });
            }
        }
        None
    }
}
