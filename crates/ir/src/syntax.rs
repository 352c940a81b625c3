//! The text form: what people write, and what every program prints as.
//!
//! [`parse`] reads a source into programs and networks and reports every problem of the source at once. [`print_program`]
//! and [`print_network`] write the *core* text, a subset of the language without loops, comments and other sugar, such
//! that parsing it gives the same program. [`format`](fn@format) lays out a source again and keeps everything that was written. The
//! grammar is in `docs/src/language/`.
//!
//! ```
//! use netsor_ir::syntax::{Item, parse, print_program};
//!
//! let source = "
//! program square {      # W and W' in one pass
//!   matrix W ~ N(0, 1/n)
//!   vector a ~ N(0, 1)
//!   y = W * a
//!   b = W' * y
//!   moment m = mean(a * b)
//! }";
//! let parsed = parse(source)?;
//! let Item::Program(program) = &parsed[0].item else { unreachable!() };
//! assert_eq!(program.values.len(), 5);
//! let text = print_program(program);
//! assert!(text.contains("b = W' * y\n"));
//! assert_eq!(print_program(&netsor_ir::syntax::parse_program(&text)?), text);
//! # Ok::<(), netsor_ir::diagnostic::Diagnostics>(())
//! ```
//!
//! The layers are a lexer, a syntax tree that keeps spans and comments, a parser that goes on after errors, an
//! elaborator (tree to program), and back: a lift (program to tree) and a formatter (tree to text).

mod ast;
mod document;
mod elaborate;
mod format;
mod lexer;
mod lift;
mod names;
mod parser;
#[cfg(test)]
mod tests;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::expr::ExprId;
use crate::network::Network;
use crate::program::Program;
use crate::verify;

pub use document::{Document, DocumentError};
pub use elaborate::Spans;
pub(crate) use elaborate::Target;
pub(crate) use lift::iid_body;
pub(crate) use names::{is_identifier, is_index_name, is_value_name};
pub(crate) use parser::{MAX_COEFFICIENT, MAX_DEPTH, MAX_INDEX_LITERAL, MAX_POWER};

/// What a source is made of.
#[derive(Clone, Debug)]
pub enum Item {
    /// `program name { ... }`
    Program(Program),
    /// `network name { ... }`
    Network(Network),
}

impl Item {
    /// The name of the program or network.
    pub fn name(&self) -> &str {
        &self.program().name
    }

    /// The program, or the program of the network.
    pub fn program(&self) -> &Program {
        match self {
            Item::Program(program) => program,
            Item::Network(network) => &network.program,
        }
    }

    /// The core text.
    pub fn print(&self) -> String {
        match self {
            Item::Program(program) => print_program(program),
            Item::Network(network) => print_network(network),
        }
    }
}

/// An item and where its parts are in the source.
#[derive(Clone, Debug)]
pub struct ParsedItem {
    /// The program or network.
    pub item: Item,
    /// Its spans.
    pub spans: Spans,
}

/// Reads a source.
///
/// # Errors
/// Every problem of every item: of syntax, of names and indices, and everything that the verifier finds (see
/// [`crate::verify`]), each with the place in the source.
pub fn parse(source: &str) -> Result<Vec<ParsedItem>, Diagnostics> {
    let (file, mut problems) = parser::parse_file(source);
    let mut items = Vec::new();
    let mut seen: Vec<(&str, ast::Span)> = Vec::new();
    for item in &file.items {
        if let Some(&(_, first)) = seen.iter().find(|(name, _)| *name == item.name.text) {
            let message = format!("`{}` is defined twice", item.name.text);
            problems.push(
                Diagnostic::new("duplicate-name", message, item.name.span.into())
                    .label("defined again here")
                    .secondary(first.into(), "first defined here"),
            );
        }
        seen.push((&item.name.text, item.name.span));
        let mut elaborated = elaborate::elaborate(item);
        problems.append(&mut elaborated.problems);
        let spans = std::mem::take(&mut elaborated.spans);
        let network = elaborated.network;
        let whole = elaborated.into_network();
        let found = verify::problems(&whole.program, network.then_some(&whole), &spans.holed);
        problems.extend(found.into_iter().map(|p| p.at(&spans)));
        let item = if network { Item::Network(whole) } else { Item::Program(whole.program) };
        items.push(ParsedItem { item, spans });
    }
    if problems.is_empty() { Ok(items) } else { Err(Diagnostics::new(problems)) }
}

/// Reads a source that holds one program and nothing else.
///
/// # Errors
/// As [`parse`], or if the source does not hold exactly one item, or a network.
pub fn parse_program(source: &str) -> Result<Program, Diagnostics> {
    match only_item(source)? {
        ParsedItem { item: Item::Program(program), .. } => Ok(program),
        ParsedItem { spans, .. } => {
            let problem = Diagnostic::new("not-a-program", "expected a program, found a network", spans.item);
            Err(Diagnostics::new(vec![problem]))
        }
    }
}

/// Reads a source that holds one network and nothing else.
///
/// # Errors
/// As [`parse`], or if the source does not hold exactly one item, or a program.
pub fn parse_network(source: &str) -> Result<Network, Diagnostics> {
    match only_item(source)? {
        ParsedItem { item: Item::Network(network), .. } => Ok(network),
        ParsedItem { spans, .. } => {
            let problem = Diagnostic::new("not-a-network", "expected a network, found a program", spans.item);
            Err(Diagnostics::new(vec![problem]))
        }
    }
}

fn only_item(source: &str) -> Result<ParsedItem, Diagnostics> {
    let mut items = parse(source)?;
    match (items.pop(), items.pop()) {
        (Some(item), None) => Ok(item),
        (last, _) => {
            let span = last.map_or(0..source.len(), |item| item.spans.item);
            let message =
                format!("expected exactly one item, found {}", if span.is_empty() { "none" } else { "several" });
            Err(Diagnostics::new(vec![Diagnostic::new("one-item", message, span)]))
        }
    }
}

/// The core text of a program: parsing it gives an equal program.
///
/// Total; the text of an ill-formed program shows what is wrong but need not parse.
pub fn print_program(program: &Program) -> String {
    format::format_file(&lift::lift_program(program)).text
}

/// The core text of a network: parsing it gives an equal network.
pub fn print_network(network: &Network) -> String {
    format::format_file(&lift::lift_network(network)).text
}

/// The text of an expression whose free variables `Var(k)` are called `index_names[k]`.
pub fn print_expr(program: &Program, expr: ExprId, index_names: &[&str]) -> String {
    format::format_expr(&lift::lift_expr(program, expr, index_names))
}

/// The core text with the spans of its parts, for diagnostics about programs that were built in Rust.
pub(crate) fn print_with_spans(program: &Program, network: Option<&Network>) -> (String, Spans) {
    let file = network.map_or_else(|| lift::lift_program(program), lift::lift_network);
    let format::Formatted { text, statements } = format::format_file(&file);
    let mut lines = statements.into_iter();
    let mut take = |count: usize| lines.by_ref().take(count).collect::<Vec<_>>();
    let axes = take(program.axes.len());
    let classes = std::iter::once(0..0).chain(take(program.classes.len().saturating_sub(1))).collect();
    let tables = take(program.tables.len());
    let values = take(program.values.len());
    let item = 0..text.find('\n').unwrap_or(text.len());
    (text, Spans { item, axes, classes, tables, values, ..Spans::default() })
}

/// Lays out a source canonically: two spaces an indentation level, one statement a line. Comments, blank lines, loops,
/// parentheses and the spelling of numbers are kept. Formatting twice changes nothing more.
///
/// # Errors
/// The syntax errors; names and types are not looked at.
pub fn format(source: &str) -> Result<String, Diagnostics> {
    let (file, problems) = parser::parse_file(source);
    if problems.is_empty() { Ok(format::format_file(&file).text) } else { Err(Diagnostics::new(problems)) }
}
