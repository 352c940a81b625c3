//! The Z table: what the limit of every value is, and which rule says so.
//!
//! One row a value, in program order, in the paper's notation. A value without a limit has a row too, which says why.

use netsor_ir::program::{Instr, Kind};
use netsor_ir::{Dim, Program, ValueId};
use serde::Serialize;

use crate::derive::Deriver;
use crate::error::LimitError;
use crate::graph::DefId;
use crate::show::{self, Notation};

/// The rule behind a row (TP IIb App. Def. B.3, with the corrections of `docs/`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Rule {
    /// Given by the caller; deterministic.
    Data,
    /// A constant vector of the program.
    Constant,
    /// A matrix: drawn, without a limit of its own.
    Matrix,
    /// An initial vector.
    ZInit,
    /// A coordinatewise function.
    #[serde(rename = "ZNonlin+")]
    ZNonlin,
    /// A mean over coordinates.
    ZMoment,
    /// A matrix product whose matrix does not come back: `Z = Zhat`.
    ZHat,
    /// A matrix product with a return path: `Z = Zhat + Zdot`.
    #[serde(rename = "ZHat + ZDot")]
    ZHatZDot,
    /// A product with a readout, which has a law and no limit unless it is small.
    Readout,
}

impl Rule {
    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Rule::Data => "data",
            Rule::Constant => "constant",
            Rule::Matrix => "matrix",
            Rule::ZInit => "ZInit",
            Rule::ZNonlin => "ZNonlin+",
            Rule::ZMoment => "ZMoment",
            Rule::ZHat => "ZHat",
            Rule::ZHatZDot => "ZHat + ZDot",
            Rule::Readout => "readout",
        }
    }
}

/// One coefficient of a ZDot.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DotRow {
    /// The vector that comes back, `y` of `W'y`.
    pub vector: String,
    /// Its coefficient `s(W) E dZ^x / dZhat^{W'y}`.
    pub coefficient: String,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The value with its indices, as in the program.
    pub value: String,
    /// The rule.
    pub rule: Rule,
    /// The limit as text; empty if there is none.
    pub limit: String,
    /// The limit in LaTeX.
    pub latex: String,
    /// The coefficients of the ZDot.
    pub dot: Vec<DotRow>,
    /// Why there is no limit, if there is none.
    pub reason: Option<String>,
}

/// A definition that rows mention.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DefinitionRow {
    /// Its name, such as `E3`.
    pub name: String,
    /// What it is, as text.
    pub text: String,
    /// What it is, in LaTeX.
    pub latex: String,
}

/// The table of a program.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ZTable {
    /// One row a value.
    pub rows: Vec<Row>,
    /// The expectations and covariances that the rows mention, in the order in which they were derived.
    pub definitions: Vec<DefinitionRow>,
}

impl Deriver<'_> {
    /// The Z table of the whole program.
    ///
    /// # Errors
    /// If the program is not well formed; a value without a limit is a row, not an error.
    pub fn ztable(&mut self) -> Result<ZTable, LimitError> {
        let program = self.program();
        let mut rows = Vec::new();
        for id in program.value_ids() {
            rows.push(self.row(program, id)?);
        }
        let definitions = (0..self.graph().defs.len())
            .map(|k| {
                let id = DefId::new(k);
                DefinitionRow {
                    name: format!("E{k}"),
                    text: show::definition(self.graph(), program, id, Notation::Text),
                    latex: show::definition(self.graph(), program, id, Notation::Latex),
                }
            })
            .collect();
        Ok(ZTable { rows, definitions })
    }

    fn row(&mut self, program: &Program, id: ValueId) -> Result<Row, LimitError> {
        let value = program.value(id);
        let mut names = value.index_names.clone();
        let subscript = if names.is_empty() { String::new() } else { format!("[{}]", names.join(", ")) };
        names.push("c".into());
        let finite = matches!(value.ty.kind, Kind::Vector(Dim::Finite(_)));
        let z = match &value.instr {
            Instr::Matrix { .. } => Err(LimitError::Matrix { name: value.name.clone() }),
            _ => self.z(id),
        };
        let rule = match (&value.instr, &z) {
            (Instr::Data, _) => Rule::Data,
            (Instr::Constant(..), _) => Rule::Constant,
            (Instr::Matrix { .. }, _) => Rule::Matrix,
            (Instr::Gaussian(_), _) => Rule::ZInit,
            (Instr::MatMul { .. }, _) if finite => Rule::Readout,
            (Instr::MatMul { .. }, Ok(z)) if !z.dot.is_empty() => Rule::ZHatZDot,
            (Instr::MatMul { .. }, _) => Rule::ZHat,
            (Instr::Map(_), _) => Rule::ZNonlin,
            (Instr::Moment(_) | Instr::Scalar(_), _) => Rule::ZMoment,
        };
        let mut row = Row {
            value: format!("{}{subscript}", value.name),
            rule,
            limit: String::new(),
            latex: String::new(),
            dot: Vec::new(),
            reason: None,
        };
        match z {
            Ok(z) => {
                let expr = match value.ty.kind {
                    Kind::Scalar => match self.scalar_limit(id) {
                        Ok(expr) => expr,
                        Err(reason) => {
                            row.reason = Some(reason.to_string());
                            z.expr
                        }
                    },
                    _ => z.expr,
                };
                row.limit = show::show(self.graph(), program, expr, Notation::Text, &names);
                row.latex = show::show(self.graph(), program, expr, Notation::Latex, &names);
                row.dot = z
                    .dot
                    .iter()
                    .map(|term| DotRow {
                        vector: program.value(term.vector).name.clone(),
                        coefficient: show::show(self.graph(), program, term.coefficient, Notation::Text, &names),
                    })
                    .collect();
            }
            Err(error @ LimitError::IllFormed { .. }) => return Err(error),
            Err(reason) => row.reason = Some(reason.to_string()),
        }
        Ok(row)
    }
}
