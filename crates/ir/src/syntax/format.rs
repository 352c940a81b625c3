//! Syntax tree to text: the one canonical layout.
//!
//! Two spaces an indentation level, one statement a line, blank lines and comments where they were. Parentheses are
//! written where the tree has them, so that whoever builds a tree decides about them.

use crate::syntax::ast::{
    Affine, Binder, Block, Body, Comparison, Cross, Definition, Dimension, Entries, Expr, ExprKind, File, GuardText,
    Item, Law, LoopRange, Modulus, Name, Operator, Reference, StackItems, Statement, StatementKind, Trivia,
};

/// Longest line of a table before its rows get lines of their own.
const LINE: usize = 96;

/// The text of a tree, and where its statements are.
pub(crate) struct Formatted {
    pub(crate) text: String,
    /// For every statement of every item, in order: its line without the indentation.
    pub(crate) statements: Vec<std::ops::Range<usize>>,
}

pub(crate) fn format_file(file: &File) -> Formatted {
    let mut out = Writer { text: String::new(), indent: 0, statements: Vec::new() };
    for (k, item) in file.items.iter().enumerate() {
        if 0 < k {
            out.text.push('\n');
        }
        out.item(item, k == 0);
    }
    out.trivia(&file.rest, file.items.is_empty(), true);
    Formatted { text: out.text, statements: out.statements }
}

/// An expression on one line.
pub(crate) fn format_expr(expr: &Expr) -> String {
    let mut out = Writer { text: String::new(), indent: 0, statements: Vec::new() };
    out.expr(expr);
    out.text
}

/// An index expression.
pub(crate) fn affine_text(affine: &Affine) -> String {
    let mut out = Writer { text: String::new(), indent: 0, statements: Vec::new() };
    out.affine(affine);
    out.text
}

struct Writer {
    text: String,
    indent: usize,
    statements: Vec<std::ops::Range<usize>>,
}

impl Writer {
    fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn start_line(&mut self) {
        for _ in 0..self.indent {
            self.text.push_str("  ");
        }
    }

    /// Comments and blank lines; blank lines at the first and last place of a block are dropped.
    fn trivia(&mut self, trivia: &[Trivia], first: bool, last: bool) {
        let from = if first { trivia.iter().take_while(|t| **t == Trivia::Blank).count() } else { 0 };
        let to = trivia.len()
            - if last { trivia[from..].iter().rev().take_while(|t| **t == Trivia::Blank).count() } else { 0 };
        let mut after_blank = false;
        for piece in &trivia[from..to] {
            match piece {
                Trivia::Blank => {
                    if !after_blank {
                        self.push("\n");
                    }
                    after_blank = true;
                }
                Trivia::Comment(text) => {
                    self.start_line();
                    self.push(text);
                    self.push("\n");
                    after_blank = false;
                }
            }
        }
    }

    fn end_line(&mut self, after: Option<&String>) {
        if let Some(comment) = after {
            self.push("  ");
            self.push(comment);
        }
        self.push("\n");
    }

    fn item(&mut self, item: &Item, first: bool) {
        // Items are separated by one blank line, whatever was there.
        let from = item.before.iter().take_while(|t| **t == Trivia::Blank).count();
        self.trivia(&item.before[from..], first, false);
        self.push(if item.network { "network " } else { "program " });
        self.push(&item.name.text);
        self.push(" {\n");
        self.block(&item.body);
        self.push("}");
        self.end_line(item.after.as_ref());
    }

    fn block(&mut self, block: &Block) {
        self.indent += 1;
        for (k, statement) in block.statements.iter().enumerate() {
            self.trivia(&statement.before, k == 0, false);
            self.start_line();
            self.statement(statement);
            self.end_line(statement.after.as_ref());
        }
        self.trivia(&block.rest, block.statements.is_empty(), true);
        self.indent -= 1;
    }

    fn statement(&mut self, statement: &Statement) {
        let start = self.text.len();
        let slot = self.statements.len();
        self.statements.push(start..start);
        match &statement.kind {
            StatementKind::Axis { name, size } => {
                self.push("axis ");
                self.push(&name.text);
                self.push(&format!(" = {}", size.value));
            }
            StatementKind::Width { name, ratio } => {
                self.push("width ");
                self.push(&name.text);
                self.push(" = ");
                self.expr(ratio);
            }
            StatementKind::Table { name, binders, entries } => {
                self.push("table ");
                self.push(&name.text);
                self.binders(binders);
                self.push(" = ");
                self.table(entries);
            }
            StatementKind::Def(definition) => self.definition(definition),
            StatementKind::For { variable, range, body } => {
                self.push("for ");
                self.push(&variable.text);
                self.push(" in ");
                self.range(range);
                self.push(" {\n");
                self.block(body);
                self.start_line();
                self.push("}");
            }
            StatementKind::Broken { .. } => {}
        }
        self.statements[slot] = start..self.text.len();
    }

    fn table(&mut self, entries: &Entries) {
        let start = self.text.len();
        let line_start = self.text.rfind('\n').map_or(0, |at| at + 1);
        self.entries(entries);
        let Entries::List(rows, _) = entries else { return };
        if self.text.len() - line_start <= LINE {
            return;
        }
        self.text.truncate(start);
        self.push("[\n");
        self.indent += 1;
        if rows.iter().all(|row| matches!(row, Entries::Number(_))) {
            self.wrapped_numbers(rows);
        } else {
            for row in rows {
                self.start_line();
                self.entries(row);
                self.push(",\n");
            }
        }
        self.indent -= 1;
        self.start_line();
        self.push("]");
    }

    fn wrapped_numbers(&mut self, numbers: &[Entries]) {
        self.start_line();
        let mut line_start = self.text.len();
        for (k, number) in numbers.iter().enumerate() {
            let before = self.text.len();
            if 0 < k {
                self.push(" ");
            }
            self.entries(number);
            self.push(",");
            if LINE < self.text.len() - line_start && 0 < k {
                self.text.truncate(before);
                self.push("\n");
                self.start_line();
                line_start = self.text.len();
                self.entries(number);
                self.push(",");
            }
        }
        self.push("\n");
    }

    fn entries(&mut self, entries: &Entries) {
        match entries {
            Entries::Number(value) => self.expr(value),
            Entries::List(members, _) => {
                self.push("[");
                for (k, member) in members.iter().enumerate() {
                    if 0 < k {
                        self.push(", ");
                    }
                    self.entries(member);
                }
                self.push("]");
            }
        }
    }

    fn definition(&mut self, definition: &Definition) {
        if definition.output {
            self.push("output ");
        }
        self.push(match definition.body {
            Body::Data { .. } => "data ",
            Body::Matrix { .. } => "matrix ",
            Body::Vector { .. } => "vector ",
            Body::Param { .. } => "param ",
            Body::Constant { .. } => "const ",
            Body::Plain { .. } => "",
            Body::Moment { .. } => "moment ",
            Body::Scalar { .. } => "scalar ",
            Body::Stack { .. } => "stack ",
        });
        self.name(&definition.name);
        self.binders(&definition.binders);
        match &definition.body {
            Body::Data { dim } => self.typed(dim.as_ref()),
            Body::Matrix { dims, law } => {
                if let Some((rows, cols)) = dims {
                    self.typed(Some(rows));
                    self.push(" x ");
                    self.dimension(cols);
                }
                self.law(law);
            }
            Body::Vector { dim, law } => {
                self.typed(dim.as_ref());
                self.law(law);
            }
            Body::Param { dims: (rows, cols), law, frozen, settings } => {
                self.typed(Some(rows));
                if let Some(cols) = cols {
                    self.push(" x ");
                    self.dimension(cols);
                }
                self.law(law);
                if *frozen {
                    self.push(" frozen");
                }
                for (k, setting) in settings.iter().enumerate() {
                    self.push(if k == 0 { " with " } else { ", " });
                    self.push(setting.key.text());
                    self.push(" = ");
                    self.expr(&setting.value);
                }
            }
            Body::Constant { dim, table } => {
                self.typed(Some(dim));
                self.push(" = ");
                self.reference(table);
            }
            Body::Plain { dim, value } => {
                self.typed(dim.as_ref());
                self.push(" = ");
                self.expr(value);
            }
            Body::Moment { value } => {
                self.push(" = mean(");
                self.expr(value);
                self.push(")");
            }
            Body::Scalar { value } => {
                self.push(" = ");
                self.expr(value);
            }
            Body::Stack { items } => {
                self.push(" = ");
                self.stack(items);
            }
        }
    }

    fn stack(&mut self, items: &StackItems) {
        match items {
            StackItems::List(members) => self.list(members),
            StackItems::Each { item, variable, range } => {
                self.expr(item);
                self.push(" for ");
                self.push(&variable.text);
                self.push(" in ");
                self.range(range);
            }
        }
    }

    fn typed(&mut self, dim: Option<&Dimension>) {
        if let Some(dim) = dim {
            self.push(" : ");
            self.dimension(dim);
        }
    }

    fn dimension(&mut self, dim: &Dimension) {
        match dim {
            Dimension::Width(name) => self.push(&name.text),
            Dimension::Finite(size) => self.push(&size.value.to_string()),
            Dimension::Scalar(_) => self.push("scalar"),
        }
    }

    fn law(&mut self, law: &Law) {
        self.push(" ~ N(");
        self.expr(&law.mean);
        self.push(", ");
        self.expr(&law.covariance);
        self.push(")");
        if law.joint {
            self.push(" joint");
        }
        for cross in &law.cross {
            self.cross(cross);
        }
    }

    fn cross(&mut self, cross: &Cross) {
        self.push(", cov(");
        self.name(&cross.with);
        for (k, binder) in cross.binders.iter().enumerate() {
            self.push(if k == 0 { "[" } else { ", " });
            self.push(&binder.text);
        }
        if !cross.binders.is_empty() {
            self.push("]");
        }
        self.push(") = ");
        self.expr(&cross.value);
    }

    fn range(&mut self, range: &LoopRange) {
        self.affine(&range.low);
        self.push(if range.inclusive { "..=" } else { ".." });
        self.affine(&range.high);
    }

    fn name(&mut self, name: &Name) {
        self.push(&name.base);
        for part in &name.parts {
            self.push("@");
            let plain = matches!(part.terms.as_slice(), [term]
                if 0 < term.coefficient && (term.coefficient == 1 || term.variable.is_none()));
            let zero = matches!(part.terms.as_slice(), [term] if term.coefficient == 0 && term.variable.is_none());
            if plain || zero {
                self.affine(part);
            } else {
                self.push("(");
                self.affine(part);
                self.push(")");
            }
        }
    }

    fn binders(&mut self, binders: &[Binder]) {
        if binders.is_empty() {
            return;
        }
        self.push("[");
        self.binder_list(binders);
        self.push("]");
    }

    fn binder_list(&mut self, binders: &[Binder]) {
        for (k, binder) in binders.iter().enumerate() {
            if 0 < k {
                self.push(", ");
            }
            self.push(&binder.name.text);
            if let Some(axis) = &binder.axis {
                self.push(" in ");
                self.push(&axis.text);
            }
        }
    }

    fn affine(&mut self, affine: &Affine) {
        for (k, term) in affine.terms.iter().enumerate() {
            let negative = term.coefficient < 0;
            match (k, negative) {
                (0, false) => {}
                (0, true) => self.push("-"),
                (_, false) => self.push(" + "),
                (_, true) => self.push(" - "),
            }
            let size = term.coefficient.unsigned_abs();
            match &term.variable {
                Some(variable) => {
                    if size != 1 {
                        self.push(&format!("{size}*"));
                    }
                    self.push(&variable.text);
                }
                None => self.push(&size.to_string()),
            }
        }
    }

    fn reference(&mut self, reference: &Reference) {
        self.name(&reference.name);
        if !reference.indices.is_empty() {
            self.push("[");
            for (k, index) in reference.indices.iter().enumerate() {
                if 0 < k {
                    self.push(", ");
                }
                self.affine(index);
            }
            self.push("]");
        }
    }

    fn list(&mut self, members: &[Expr]) {
        for (k, member) in members.iter().enumerate() {
            if 0 < k {
                self.push(", ");
            }
            self.expr(member);
        }
    }

    fn expr(&mut self, expr: &Expr) {
        match &expr.kind {
            ExprKind::Number { text, .. } => self.push(text),
            ExprKind::Reference(reference) => self.reference(reference),
            ExprKind::Transposed(reference) => {
                self.reference(reference);
                self.push("'");
            }
            ExprKind::Neg(inner) => {
                self.push("-");
                self.expr(inner);
            }
            ExprKind::Chain { first, rest } => self.chain(first, rest),
            ExprKind::Pow { base, exponent } => {
                self.expr(base);
                self.push(&exponent_text(*exponent));
            }
            ExprKind::Call { function, arguments } => {
                self.push(&function.text);
                self.push("(");
                self.list(arguments);
                self.push(")");
            }
            ExprKind::Sum { binders, guards, body } => {
                self.push("sum ");
                self.binder_list(binders);
                if !binders.is_empty() {
                    self.push(" ");
                }
                for guard in guards {
                    self.guard(guard);
                    self.push(" ");
                }
                self.expr(body);
            }
            ExprKind::Paren(inner) => {
                let mut inner = inner;
                while let ExprKind::Paren(next) = &inner.kind {
                    inner = next;
                }
                self.push("(");
                self.expr(inner);
                self.push(")");
            }
        }
    }

    fn chain(&mut self, first: &Expr, rest: &[(Operator, Expr)]) {
        self.expr(first);
        let literal = match &first.kind {
            ExprKind::Number { .. } => true,
            ExprKind::Neg(inner) => matches!(inner.kind, ExprKind::Number { .. }),
            _ => false,
        };
        for (k, (operator, operand)) in rest.iter().enumerate() {
            // 1/3, 2/n and 1/(3 * n) are read as one number.
            let tight = k == 0 && literal && *operator == Operator::Div;
            self.push(match operator {
                Operator::Add => " + ",
                Operator::Sub => " - ",
                Operator::Mul => " * ",
                Operator::Div if tight => "/",
                Operator::Div => " / ",
            });
            self.expr(operand);
        }
    }

    fn guard(&mut self, guard: &GuardText) {
        self.push("[");
        self.affine(&guard.left);
        self.push(match guard.relation {
            Comparison::Equal => " = ",
            Comparison::LessEqual => " <= ",
            Comparison::Less => " < ",
            Comparison::GreaterEqual => " >= ",
            Comparison::Greater => " > ",
        });
        self.affine(&guard.right);
        match &guard.modulus {
            Some(Modulus::Number(modulus)) => self.push(&format!(" mod {}", modulus.value)),
            Some(Modulus::Axis(axis)) => {
                self.push(" mod ");
                self.push(&axis.text);
            }
            None => {}
        }
        self.push("]");
    }
}

fn exponent_text((numerator, denominator): (i64, i64)) -> String {
    if denominator == 1 { format!("^{numerator}") } else { format!("^({numerator}/{denominator})") }
}
