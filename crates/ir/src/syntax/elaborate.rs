//! Syntax tree to program.
//!
//! Resolves names and indices, runs loops, and interns terms exactly as they were written (only literal quotients and
//! signs of literals are folded). What it defines is left to the verifier to judge, which sees the same program when it
//! is built in Rust.
//!
//! Errors do not hide each other. A term with an error becomes a *hole*, and the definition that holds it is still
//! entered with its kind and family where these are known from what is right in it; the verifier looks at it and at its
//! users with the others. Where they are not known, the name is *poisoned*, and mentions of it are holes in turn,
//! without a report.

mod expr;
mod statement;

use std::ops::Range;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::diagnostic::Diagnostic;
use crate::expr::Symbol;
use crate::id::Id;
use crate::index::Index;
use crate::network::{Network, Parameter};
use crate::program::{Axis, Program, Table, ValueId, WidthClass};
use crate::syntax::ast::{Affine, Block, Ident, Item, Name, Span, Statement, StatementKind};
use crate::syntax::names::closest;

/// Most terms, statements and loop rounds that one item may elaborate to.
const MAX_STEPS: usize = 4_000_000;
/// After this many rounds a loop of an item in which something is wrong is left: more rounds would say the same.
const PATIENCE: usize = 64;

/// Where the parts of an item are in its source.
#[derive(Clone, Debug, Default)]
pub struct Spans {
    /// The whole item.
    pub item: Range<usize>,
    /// Names of the axes.
    pub axes: Vec<Range<usize>>,
    /// Names of the width classes; that of `n` is empty.
    pub classes: Vec<Range<usize>>,
    /// Names of the tables.
    pub tables: Vec<Range<usize>>,
    /// Names of the values at their definitions.
    pub values: Vec<Range<usize>>,
    /// Definitions with holes: what is missing in them was reported.
    pub(crate) holed: FxHashSet<ValueId>,
    /// First mention of a value or table in the definition of a value.
    pub(crate) mentions: FxHashMap<(ValueId, Target), Range<usize>>,
}

/// What a reference refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    Value(Symbol),
    Table(Id<Table>),
}

/// An elaborated item. If there are problems, some definitions have holes or are left out.
pub(crate) struct Elaborated {
    pub(crate) program: Program,
    pub(crate) network: bool,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) outputs: Vec<ValueId>,
    pub(crate) spans: Spans,
    pub(crate) problems: Vec<Diagnostic>,
}

impl Elaborated {
    pub(crate) fn into_network(self) -> Network {
        Network { program: self.program, parameters: self.parameters, outputs: self.outputs }
    }
}

pub(crate) fn elaborate(item: &Item) -> Elaborated {
    let mut out = Elaborator {
        out: Elaborated {
            program: Program::new(&item.name.text),
            network: item.network,
            parameters: Vec::new(),
            outputs: Vec::new(),
            spans: Spans { item: item.span.into(), ..Spans::default() },
            problems: Vec::new(),
        },
        names: FxHashMap::default(),
        later: FxHashMap::default(),
        poisoned: FxHashSet::default(),
        loops: Vec::new(),
        steps: 0,
        holes: 0,
        reported: FxHashSet::default(),
    };
    out.names.insert("n".into(), (Entity::Class(Id::new(0)), Span::default()));
    out.out.spans.classes.push(0..0);
    out.collect_names(&item.body);
    // The error was reported where it happened; nothing remains to be done after it.
    let _ = out.block(&item.body);
    out.out
}

/// What a name stands for.
#[derive(Clone, Copy)]
enum Entity {
    Axis(Id<Axis>),
    Class(Id<WidthClass>),
    Table(Id<Table>),
    Value(ValueId),
}

impl Entity {
    fn describe(self) -> &'static str {
        match self {
            Entity::Axis(_) => "an axis",
            Entity::Class(_) => "a width",
            Entity::Table(_) => "a table",
            Entity::Value(_) => "a value",
        }
    }
}

/// A problem was reported or was the consequence of one.
struct Skip;

type Elaborate<T> = Result<T, Skip>;

/// An index variable in scope.
#[derive(Clone)]
struct Variable {
    name: String,
    index: Index,
    axis: Id<Axis>,
}

/// The index variables that an expression may use.
#[derive(Clone, Default)]
struct Scope {
    variables: Vec<Variable>,
    /// The next free variable to give out.
    fresh: u32,
}

struct Elaborator {
    out: Elaborated,
    names: FxHashMap<String, (Entity, Span)>,
    /// Base names that are defined somewhere in the item, and where.
    later: FxHashMap<String, Span>,
    /// Names whose definitions are broken; with a base name, all its parts.
    poisoned: FxHashSet<String>,
    loops: Vec<(String, i64)>,
    steps: usize,
    /// Number of holes in the definition that comes next.
    holes: usize,
    /// Problems already reported, which loops would repeat.
    reported: FxHashSet<(&'static str, Span)>,
}

impl std::hash::Hash for Span {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.start, self.end).hash(state);
    }
}

impl Elaborator {
    fn report(&mut self, problem: Diagnostic) -> Skip {
        if self.reported.insert((problem.code, Span::from(problem.span.clone()))) {
            self.out.problems.push(problem);
        }
        Skip
    }

    fn step(&mut self, span: Span) -> Elaborate<()> {
        self.steps += 1;
        if self.steps <= MAX_STEPS {
            return Ok(());
        }
        let message = format!("the loops of this item unroll to more than {MAX_STEPS} terms");
        Err(self.report(Diagnostic::new("too-large", message, span.into()).label("stopped here")))
    }

    /// Base names defined anywhere, to tell a name that is unknown from one that is used too early.
    fn collect_names(&mut self, block: &Block) {
        for statement in &block.statements {
            let (name, span) = match &statement.kind {
                StatementKind::Axis { name, .. }
                | StatementKind::Width { name, .. }
                | StatementKind::Table { name, .. } => (&name.text, name.span),
                StatementKind::Def(definition) => (&definition.name.base, definition.name.span),
                StatementKind::For { body, .. } => {
                    self.collect_names(body);
                    continue;
                }
                StatementKind::Broken { name } => {
                    if let Some(name) = name {
                        self.poisoned.insert(name.text.clone());
                    }
                    continue;
                }
            };
            self.later.entry(name.clone()).or_insert(span);
        }
    }

    /// Elaborates the statements; fails only when the item has become too large.
    fn block(&mut self, block: &Block) -> Elaborate<()> {
        for statement in &block.statements {
            self.step(statement.span)?;
            self.statement(statement)?;
        }
        Ok(())
    }

    fn statement(&mut self, statement: &Statement) -> Elaborate<()> {
        match &statement.kind {
            StatementKind::Axis { name, size } => self.axis(name, size),
            StatementKind::Width { name, ratio } => self.width(name, ratio),
            StatementKind::Table { name, binders, entries } => {
                if self.table(name, binders, entries).is_err() {
                    self.poisoned.insert(name.text.clone());
                }
            }
            StatementKind::Def(definition) => self.definition(definition),
            StatementKind::For { variable, range, body } => {
                let Ok(values) = self.loop_values(variable, range) else {
                    self.poison_block(body);
                    return Ok(());
                };
                for (round, value) in values.enumerate() {
                    self.step(statement.span)?;
                    self.loops.push((variable.text.clone(), value));
                    let result = self.block(body);
                    self.loops.pop();
                    result?;
                    if PATIENCE <= round && !self.out.problems.is_empty() {
                        self.poison_block(body);
                        break;
                    }
                }
            }
            StatementKind::Broken { .. } => {}
        }
        Ok(())
    }

    fn poison_block(&mut self, block: &Block) {
        for statement in &block.statements {
            match &statement.kind {
                StatementKind::Def(definition) => {
                    self.poisoned.insert(definition.name.base.clone());
                }
                StatementKind::For { body, .. } => self.poison_block(body),
                _ => {}
            }
        }
    }

    // Names.

    /// Enters a name; a second definition is reported.
    fn declare(&mut self, name: &str, span: Span, entity: Entity) -> Elaborate<()> {
        if let Some(&(_, first)) = self.names.get(name) {
            let mut problem = Diagnostic::new("duplicate-name", format!("`{name}` is defined twice"), span.into())
                .label("defined again here");
            if first.end == 0 {
                problem = problem.note("`n` is the width; it is always defined");
            } else if first == span {
                let variable = self.loops.last().map_or("t", |(v, _)| v.as_str()).to_owned();
                let base = name.split('@').next().unwrap_or(name);
                problem = problem
                    .note("every round of the loop defines it")
                    .help(format!("make the loop variable part of the name: `{base}@{variable}`"));
            } else {
                problem = problem
                    .secondary(first.into(), "first defined here")
                    .note("axes, widths, tables and values share their names");
            }
            return Err(self.report(problem));
        }
        self.names.insert(name.to_owned(), (entity, span));
        Ok(())
    }

    /// The full name: `h@(t - 1)` becomes `h@2` when `t` is 3.
    fn full_name(&mut self, name: &Name) -> Elaborate<String> {
        let mut text = name.base.clone();
        for part in &name.parts {
            let value = self.constant_affine(part)?;
            if u32::try_from(value).is_err() {
                let problem = Diagnostic::new(
                    "negative-name-part",
                    format!("`{}@{value}` is not a name", name.base),
                    part.span.into(),
                )
                .label(format!("this is {value} here"))
                .help("the numbers in names start at 0; start the loop later or shift the names");
                return Err(self.report(problem));
            }
            text.push('@');
            text.push_str(&value.to_string());
        }
        Ok(text)
    }

    fn loop_value(&self, name: &str) -> Option<i64> {
        self.loops.iter().rev().find(|(v, _)| v == name).map(|&(_, value)| value)
    }

    /// The value of an affine expression over loop variables.
    fn constant_affine(&mut self, affine: &Affine) -> Elaborate<i64> {
        let mut total = 0i64;
        for term in &affine.terms {
            let factor = match &term.variable {
                None => 1,
                Some(variable) => match self.loop_value(&variable.text) {
                    Some(value) => value,
                    None => return Err(self.unknown_loop_variable(variable)),
                },
            };
            let sum = term.coefficient.checked_mul(factor).and_then(|product| total.checked_add(product));
            let Some(sum) = sum else {
                let problem = Diagnostic::new("overflow", "this number is too large", affine.span.into());
                return Err(self.report(problem));
            };
            total = sum;
        }
        Ok(total)
    }

    fn unknown_loop_variable(&mut self, variable: &Ident) -> Skip {
        let names: Vec<String> = self.loops.iter().map(|(name, _)| name.clone()).collect();
        let mut problem = Diagnostic::new(
            "unknown-loop-variable",
            format!("`{}` is not a loop variable", variable.text),
            variable.span.into(),
        )
        .label("only variables of a `for` around this can stand here");
        problem.help =
            closest(&variable.text, names.iter().map(String::as_str)).map(|m| format!("did you mean `{m}`?"));
        self.report(problem)
    }

    fn is_poisoned(&self, full: &str) -> bool {
        let base = full.split('@').next().unwrap_or(full);
        self.poisoned.contains(full) || self.poisoned.contains(base)
    }

    /// What a name stands for.
    fn lookup(&mut self, name: &Name, wanted: &str) -> Elaborate<(Entity, String)> {
        let full = self.full_name(name)?;
        if let Some(&(entity, _)) = self.names.get(&full) {
            return Ok((entity, full));
        }
        if self.is_poisoned(&full) {
            return Err(Skip);
        }
        Err(self.unknown_name(&full, &name.base, name.span, wanted))
    }

    fn unknown_name(&mut self, full: &str, base: &str, span: Span, wanted: &str) -> Skip {
        let problem = Diagnostic::new("unknown-name", format!("unknown {wanted} `{full}`"), span.into());
        let later = self.later.get(base).copied().filter(|l| span.start <= l.start);
        let problem = if let Some(later) = later {
            Diagnostic::new("used-before-definition", format!("`{full}` is used before it is defined"), span.into())
                .label("not defined yet")
                .secondary(later.into(), "defined here")
                .note("a program is a list of definitions, each over earlier ones")
        } else if full != base && self.later.contains_key(base) {
            let mut known: Vec<&str> =
                self.names.keys().filter(|k| k.split('@').next() == Some(base)).map(String::as_str).collect();
            known.sort_unstable_by_key(|name| (name.len(), *name));
            let shown: Vec<String> = known.iter().take(4).map(|name| format!("`{name}`")).collect();
            let more = if 4 < known.len() { ", ..." } else { "" };
            let problem = problem.label("not defined");
            if shown.is_empty() { problem } else { problem.note(format!("there are {}{more}", shown.join(", "))) }
        } else if crate::func::Func::from_name(full).is_some() {
            problem.label("this is a function").help(format!("write `{full}(...)`"))
        } else {
            let mut candidates: Vec<&str> = self.names.keys().map(String::as_str).collect();
            candidates.sort_unstable();
            let mut problem = problem.label("not defined");
            problem.help = closest(full, candidates).map(|meant| format!("did you mean `{meant}`?"));
            problem
        };
        self.report(problem)
    }

    /// The axis called `name`.
    fn find_axis(&mut self, name: &str, span: Span) -> Elaborate<Id<Axis>> {
        match self.names.get(name) {
            Some(&(Entity::Axis(axis), _)) => Ok(axis),
            Some(&(entity, _)) => {
                let problem = Diagnostic::new(
                    "not-an-axis",
                    format!("`{name}` is {}, not an axis", entity.describe()),
                    span.into(),
                )
                .label("an index ranges over an axis");
                Err(self.report(problem))
            }
            None if self.is_poisoned(name) => Err(Skip),
            None => {
                let mut axes: Vec<String> = self.out.program.axes.iter().map(|a| a.name.clone()).collect();
                axes.sort_unstable();
                let mut problem = Diagnostic::new("unknown-axis", format!("there is no axis `{name}`"), span.into())
                    .label("an index variable ranges over the axis of the same name");
                problem.help = Some(match closest(name, axes.iter().map(String::as_str)) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => match axes.first() {
                        Some(axis) => format!("declare `axis {name} = ...` before, or name one: `{name} in {axis}`"),
                        None => format!("declare `axis {name} = ...` before"),
                    },
                });
                Err(self.report(problem))
            }
        }
    }

    fn axis_name(&self, axis: Id<Axis>) -> &str {
        &self.out.program.axes[axis.index()].name
    }
}
