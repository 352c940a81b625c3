//! Expressions of the moment graph as text or LaTeX.

use netsor_ir::expr::{Expr, ExprId};
use netsor_ir::index::{Guard, Relation};
use netsor_ir::number::print;
use netsor_ir::{Func, Index, Program};

use num_bigint::Sign;

use crate::graph::{Body, DefId, Graph, Leaf};

/// How expressions are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notation {
    /// Plain text.
    Text,
    /// LaTeX mathematics, without delimiters.
    Latex,
}

/// An expression as text, with definitions by name (`E3`), base variables as `Zhat[x]` and data by its own name.
pub fn text(graph: &Graph, program: &Program, expr: ExprId) -> String {
    show(graph, program, expr, Notation::Text, &[])
}

/// An expression, with `indices[k]` as the name of `Var(k)`.
pub fn show(graph: &Graph, program: &Program, expr: ExprId, notation: Notation, indices: &[String]) -> String {
    Printer { graph, program, notation, indices }.expr(expr, 0)
}

/// A definition as text: `E relu(Z0) relu(Z1), Cov Z = [...]`, or the scalar expression it names.
pub fn definition(graph: &Graph, program: &Program, def: DefId, notation: Notation) -> String {
    let printer = Printer { graph, program, notation, indices: &[] };
    match &graph.def(def).body {
        Body::Scalar(expr) | Body::Provided { value: expr, .. } => printer.expr(*expr, 0),
        Body::Quotient { numerator, denominator, power, .. } => {
            let (top, bottom) = (printer.expr(*numerator, 2), printer.expr(*denominator, 3));
            match notation {
                Notation::Text => format!("{top} * {bottom}^(-{power})"),
                Notation::Latex => format!("{top}\\,{{{bottom}}}^{{-{power}}}"),
            }
        }
        Body::Expect { integrand, covariance, parameters } => {
            let slots = (0..).take_while(|k| k * (k + 1) / 2 < covariance.len()).count();
            let mut text = match notation {
                Notation::Text => format!("E {}", printer.expr(*integrand, 3)),
                Notation::Latex => format!("\\mathbb{{E}}\\left[{}\\right]", printer.expr(*integrand, 0)),
            };
            for i in 0..slots {
                for j in 0..=i {
                    let entry = printer.expr(covariance[i * (i + 1) / 2 + j], 0);
                    text.push_str(&match notation {
                        Notation::Text => format!("; Cov(Z{j}, Z{i}) = {entry}"),
                        Notation::Latex => format!(",\\ \\operatorname{{Cov}}(Z_{{{j}}}, Z_{{{i}}}) = {entry}"),
                    });
                }
            }
            for (k, &p) in parameters.iter().enumerate() {
                text.push_str(&format!("; p{k} = {}", printer.expr(p, 0)));
            }
            text
        }
    }
}

struct Printer<'a> {
    graph: &'a Graph,
    program: &'a Program,
    notation: Notation,
    indices: &'a [String],
}

impl Printer<'_> {
    fn index(&self, index: Index) -> String {
        match index {
            Index::Var(k) => self.indices.get(k as usize).cloned().unwrap_or_else(|| format!("i{k}")),
            Index::Bound(b) => format!("s{b}"),
            Index::At(p) => p.to_string(),
        }
    }

    fn subscript(&self, indices: &[Index]) -> String {
        if indices.is_empty() {
            return String::new();
        }
        let list: Vec<String> = indices.iter().map(|&i| self.index(i)).collect();
        match self.notation {
            Notation::Text => format!("[{}]", list.join(", ")),
            Notation::Latex => format!("_{{{}}}", list.join(",")),
        }
    }

    fn name(&self, name: &str) -> String {
        match self.notation {
            Notation::Text => name.to_owned(),
            Notation::Latex if name.chars().count() == 1 => name.to_owned(),
            Notation::Latex => format!("\\mathrm{{{}}}", name.replace('_', "\\_")),
        }
    }

    fn guard(&self, guard: &Guard) -> String {
        let mut left = String::new();
        for &(c, i) in guard.terms() {
            let sign = if c < 0 { " - " } else { " + " };
            let size = if c.abs() == 1 { String::new() } else { format!("{} ", c.abs()) };
            left.push_str(&format!("{sign}{size}{}", self.index(i)));
        }
        let left = left.trim_start_matches(" + ").to_owned();
        let right = -guard.constant();
        match guard.relation() {
            Relation::Eq => format!("[{left} = {right}]"),
            Relation::Le => format!("[{left} <= {right}]"),
            Relation::EqMod(m) => format!("[{left} = {right} mod {m}]"),
        }
    }

    /// `level`: 0 sums, 1 terms of a sum, 2 factors, 3 bases of powers and arguments.
    fn expr(&self, id: ExprId, level: u8) -> String {
        stacker::maybe_grow(64 * 1024, 4 * 1024 * 1024, || self.node(id, level))
    }

    fn node(&self, id: ExprId, level: u8) -> String {
        let latex = self.notation == Notation::Latex;
        let (text, own) = match self.graph.pool.node(id) {
            Expr::Const(value) => {
                let text = print(value);
                // A sign or a fraction bar binds like an operator.
                let compound = value.numer().sign() == Sign::Minus || text.contains('/');
                (text, if compound { 1 } else { 3 })
            }
            Expr::Pi => ((if latex { "\\pi" } else { "pi" }).to_owned(), 3),
            Expr::Width(p) => (if latex { format!("n^{{{p}}}") } else { format!("n^({p})") }, 3),
            Expr::Ref(symbol, indices) => {
                let sub = self.subscript(indices);
                let text = match self.graph.leaf(*symbol) {
                    Leaf::Def(def) => {
                        let def = def.index();
                        if latex { format!("E^{{({def})}}{sub}") } else { format!("E{def}{sub}") }
                    }
                    Leaf::Slot(k) => {
                        if latex {
                            format!("Z_{{{k}}}")
                        } else {
                            format!("Z{k}")
                        }
                    }
                    Leaf::Parameter(k) => {
                        if latex {
                            format!("p_{{{k}}}")
                        } else {
                            format!("p{k}")
                        }
                    }
                    Leaf::Value(value) => {
                        let name = self.name(&self.program.value(value).name);
                        match (self.graph.is_random(*symbol), latex) {
                            (true, false) => format!("Zhat({name}{sub})"),
                            (true, true) => format!("\\hat{{Z}}^{{{name}{sub}}}"),
                            (false, _) => format!("{name}{sub}"),
                        }
                    }
                };
                (text, 3)
            }
            Expr::Table(table, indices) => {
                let name = self.name(&self.program.tables[table.index()].name);
                (format!("{name}{}", self.subscript(indices)), 3)
            }
            Expr::Neg(a) => (format!("-{}", self.expr(*a, 2)), 1),
            Expr::Add(a, b) => (format!("{} + {}", self.expr(*a, 1), self.expr(*b, 1)), 1),
            Expr::Sub(a, b) => (format!("{} - {}", self.expr(*a, 1), self.expr(*b, 2)), 1),
            Expr::Mul(a, b) if latex => (format!("{}\\,{}", self.expr(*a, 2), self.expr(*b, 2)), 2),
            Expr::Mul(a, b) => (format!("{} * {}", self.expr(*a, 2), self.expr(*b, 2)), 2),
            Expr::Div(a, b) if latex => (format!("\\frac{{{}}}{{{}}}", self.expr(*a, 0), self.expr(*b, 0)), 3),
            Expr::Div(a, b) => (format!("{} / {}", self.expr(*a, 2), self.expr(*b, 3)), 2),
            Expr::Pow(a, p) if latex => (format!("{{{}}}^{{{p}}}", self.expr(*a, 3)), 3),
            Expr::Pow(a, p) if p.is_integer() => (format!("{}^{p}", self.expr(*a, 3)), 3),
            Expr::Pow(a, p) => (format!("{}^({p})", self.expr(*a, 3)), 3),
            Expr::Apply(func, args) => {
                let args: Vec<String> = args.iter().map(|&a| self.expr(a, 0)).collect();
                (self.call(*func, &args.join(", ")), 3)
            }
            Expr::Sum(sum) => {
                let base = self.graph.pool.height(sum.body);
                let over: Vec<String> =
                    (0..sum.axes.len() as u32).map(|k| self.index(Index::Bound(base + k))).collect();
                let guards: Vec<String> = sum.guards.iter().map(|g| self.guard(g)).collect();
                let body = self.expr(sum.body, 2);
                let text = if latex {
                    format!("\\sum_{{{}}} {} {body}", over.join(","), guards.join(""))
                } else {
                    format!("sum {} {} {body}", over.join(", "), guards.join(" "))
                };
                (text.replace("  ", " "), 1)
            }
        };
        if own < level { if latex { format!("\\left({text}\\right)") } else { format!("({text})") } } else { text }
    }

    fn call(&self, func: Func, args: &str) -> String {
        match self.notation {
            Notation::Text => format!("{}({args})", func.name()),
            Notation::Latex => format!("\\operatorname{{{}}}({args})", func.name().replace('_', "\\_")),
        }
    }
}
