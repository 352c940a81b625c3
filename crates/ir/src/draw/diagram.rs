//! The graph of a program: nodes for values and instructions, edges for what feeds into what.

use crate::expr::{Expr, ExprId};
use crate::index::Index;
use crate::program::{Dim, Instr, Kind, Operand, Program, Value, ValueId};
use crate::syntax::print_expr;

/// Most characters of a line in a gate.
const LINE: usize = 22;
/// Most lines in a gate.
const LINES: usize = 3;

/// How a node looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// G-var.
    Empty,
    /// X-var.
    Filled,
    /// Scalar.
    Square,
    /// Vector of constant dimension.
    Rhombus,
    /// NONLIN.
    Gate,
    /// MOMENT.
    BarGate,
    /// The label of a dashed edge, which the edge passes through.
    Matrix,
}

impl Shape {
    /// Whether the node is an instruction and stands between values.
    pub(super) fn is_instruction(self) -> bool {
        matches!(self, Shape::Gate | Shape::BarGate | Shape::Matrix)
    }
}

/// A value, or an instruction.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) shape: Shape,
    /// What is written at it.
    pub(super) lines: Vec<String>,
    /// The definition in full.
    pub(super) title: String,
    /// Whether it stands for several members.
    pub(super) family: bool,
}

/// From a node to a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    pub(super) from: usize,
    pub(super) to: usize,
    /// Part of a multiplication by a matrix.
    pub(super) dashed: bool,
}

/// The graph of a program. Edges point from earlier nodes to later ones.
#[derive(Clone, Debug)]
pub(super) struct Diagram {
    pub(super) name: String,
    pub(super) nodes: Vec<Node>,
    pub(super) edges: Vec<Edge>,
}

impl Diagram {
    pub(super) fn new(program: &Program) -> Self {
        let mut diagram = Self { name: program.name.clone(), nodes: Vec::new(), edges: Vec::new() };
        let mut node_of: Vec<Option<usize>> = vec![None; program.values.len()];
        for id in program.value_ids() {
            if matches!(program.value(id).ty.kind, Kind::Matrix { .. }) {
                continue;
            }
            let instruction = instruction(program, id);
            let dashed = instruction.as_ref().is_some_and(|n| n.shape == Shape::Matrix);
            let arguments = match &program.value(id).instr {
                Instr::Gaussian(_) => Vec::new(),
                _ => program.arguments(id),
            };
            let from = instruction.map(|node| {
                diagram.nodes.push(node);
                diagram.nodes.len() - 1
            });
            let to = diagram.nodes.len();
            diagram.nodes.push(value_node(program, id));
            node_of[id.index()] = Some(to);
            if let Some(gate) = from {
                let sources = arguments.iter().filter_map(|a| node_of.get(a.index()).copied().flatten());
                diagram.edges.extend(sources.map(|source| Edge { from: source, to: gate, dashed }));
                diagram.edges.push(Edge { from: gate, to, dashed });
            }
        }
        diagram
    }
}

fn value_node(program: &Program, id: ValueId) -> Node {
    let value = program.value(id);
    let shape = match (value.ty.kind, &value.instr) {
        (Kind::Scalar, _) => Shape::Square,
        (Kind::Vector(Dim::Width(_)), Instr::Gaussian(_) | Instr::MatMul { .. }) => Shape::Empty,
        (Kind::Vector(Dim::Width(_)), _) => Shape::Filled,
        _ => Shape::Rhombus,
    };
    let label = label(value);
    Node { shape, lines: vec![label.clone()], title: label, family: !value.ty.family.is_empty() }
}

/// The gate or matrix in front of a value; initial values and data have none.
fn instruction(program: &Program, id: ValueId) -> Option<Node> {
    let value = program.value(id);
    let node = |shape, lines: Vec<String>, title| Node { shape, lines, title, family: false };
    match &value.instr {
        Instr::Data | Instr::Constant(..) | Instr::Matrix { .. } | Instr::Gaussian(_) => None,
        Instr::MatMul { matrix, transposed, vector } => {
            let name = format!("{}{}", operand(program, value, matrix), if *transposed { "'" } else { "" });
            let title = format!("{} = {name} * {}", label(value), operand(program, value, vector));
            Some(node(Shape::Matrix, vec![name], title))
        }
        Instr::Map(expr) => {
            let (lines, full) = function(program, value, *expr);
            Some(node(Shape::Gate, lines, format!("{} = {full}", label(value))))
        }
        Instr::Moment(expr) => {
            let (lines, full) = function(program, value, *expr);
            Some(node(Shape::BarGate, lines, format!("moment {} = mean({full})", label(value))))
        }
        Instr::Scalar(expr) => {
            let (lines, full) = function(program, value, *expr);
            Some(node(Shape::BarGate, lines, format!("scalar {} = {full}", label(value))))
        }
    }
}

/// `h[i, p]`
fn label(value: &Value) -> String {
    if value.index_names.is_empty() {
        return value.name.clone();
    }
    format!("{}[{}]", value.name, value.index_names.join(", "))
}

fn operand(program: &Program, within: &Value, operand: &Operand) -> String {
    let name = program.values.get(operand.value.index()).map_or("?", |v| v.name.as_str());
    if operand.indices.is_empty() {
        return name.to_owned();
    }
    let index = |index: &Index| match index {
        Index::Var(k) => within.index_names.get(*k as usize).cloned().unwrap_or_else(|| format!("i{k}")),
        Index::Bound(b) => format!("s{b}"),
        Index::At(p) => p.to_string(),
    };
    format!("{name}[{}]", operand.indices.iter().map(index).collect::<Vec<_>>().join(", "))
}

/// What stands in a gate, and the expression in full. A single function of a single value is shown by its name.
fn function(program: &Program, value: &Value, expr: ExprId) -> (Vec<String>, String) {
    let names: Vec<&str> = value.index_names.iter().map(String::as_str).collect();
    let full = print_expr(program, expr, &names);
    if let Expr::Apply(func, args) = program.exprs.node(expr)
        && let [argument] = &args[..]
        && matches!(program.exprs.node(*argument), Expr::Ref(..))
    {
        return (vec![func.name().to_owned()], full);
    }
    (wrap(&full), full)
}

/// Lines broken at spaces; what does not fit ends in an ellipsis.
fn wrap(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is a line to begin with");
        let longer = line.chars().count() + 1 + word.chars().count();
        if line.is_empty() {
            line.push_str(word);
        } else if longer <= LINE {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    let cut = LINES < lines.len();
    lines.truncate(LINES);
    for line in &mut lines {
        if LINE + 4 < line.chars().count() {
            *line = line.chars().take(LINE + 3).chain(['…']).collect();
        }
    }
    if cut && let Some(last) = lines.last_mut() {
        last.push_str(" …");
    }
    lines
}
