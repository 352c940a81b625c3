//! What a program is, and which theorem covers it.

use netsor_ir::expr::Expr;
use netsor_ir::func::Smoothness;
use netsor_ir::number::print;
use netsor_ir::program::Scale;
use netsor_ir::{Dim, ExprId, Instr, Kind, Network, Program, Role, ValueId};
use num_traits::{One, Zero};
use serde::Serialize;

/// Whether a theorem covers a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cover {
    /// All hypotheses hold.
    Proved,
    /// Its conclusion is seen in simulations, but a hypothesis is missing.
    Supported,
    /// A hypothesis fails.
    Outside,
}

impl Cover {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Cover::Proved => "covered",
            Cover::Supported => "supported, not proved",
            Cover::Outside => "not covered",
        }
    }
}

/// A theorem and what it says of a program.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Theorem {
    /// Where it is.
    pub(crate) source: &'static str,
    /// What it gives.
    pub(crate) subject: &'static str,
    pub(crate) cover: Cover,
    /// Why, one sentence a hypothesis that matters.
    pub(crate) reasons: Vec<String>,
}

/// How many values of each kind a program has.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Counts {
    pub(crate) matrices: usize,
    pub(crate) g_vars: usize,
    pub(crate) x_vars: usize,
    pub(crate) scalars: usize,
    pub(crate) finite_vectors: usize,
}

/// Counts the values of a program; a family counts once.
pub(crate) fn counts(program: &Program) -> Counts {
    let mut counts = Counts::default();
    for value in &program.values {
        let counter = match (value.ty.kind, &value.instr) {
            (Kind::Matrix { .. }, _) => &mut counts.matrices,
            (Kind::Scalar, _) => &mut counts.scalars,
            (Kind::Vector(Dim::Finite(_)), _) => &mut counts.finite_vectors,
            (_, Instr::Gaussian(_) | Instr::MatMul { .. }) => &mut counts.g_vars,
            _ => &mut counts.x_vars,
        };
        *counter += 1;
    }
    counts
}

/// What the expressions of a program are made of.
struct Functions {
    kinks: Vec<&'static str>,
    jumps: Vec<&'static str>,
    /// Functions that are not polynomially bounded, or are singular somewhere.
    local: Vec<&'static str>,
}

fn functions(program: &Program) -> Functions {
    let mut found = Functions { kinks: Vec::new(), jumps: Vec::new(), local: Vec::new() };
    let mut add = |list: fn(&mut Functions) -> &mut Vec<&'static str>, name| {
        let list = list(&mut found);
        if !list.contains(&name) {
            list.push(name);
        }
    };
    for expr in program.values.iter().filter_map(|v| coordinatewise(&v.instr)) {
        program.exprs.visit(expr, &mut |node| match node {
            Expr::Apply(func, _) => {
                let facts = func.facts();
                match facts.smoothness {
                    Smoothness::Jump => add(|f| &mut f.jumps, facts.name),
                    Smoothness::Kink => add(|f| &mut f.kinks, facts.name),
                    Smoothness::Smooth => {}
                }
                if !facts.polynomially_bounded {
                    add(|f| &mut f.local, facts.name);
                }
            }
            Expr::Div(_, by) if !matches!(program.exprs.node(*by), Expr::Const(_)) => add(|f| &mut f.local, "/"),
            Expr::Pow(_, p) if !p.is_integer() || *p < Zero::zero() => add(|f| &mut f.local, "^"),
            _ => {}
        });
    }
    found
}

fn coordinatewise(instr: &Instr) -> Option<ExprId> {
    match instr {
        Instr::Map(expr) | Instr::Moment(expr) => Some(*expr),
        _ => None,
    }
}

/// Whether some matrix and its transpose both multiply a vector.
pub(crate) fn both_ways(program: &Program) -> Vec<ValueId> {
    let used = |id: ValueId, way: bool| {
        program.values.iter().any(|v| {
            matches!(&v.instr, Instr::MatMul { matrix, transposed, .. } if matrix.value == id && *transposed == way)
        })
    };
    program.value_ids().filter(|&id| used(id, true) && used(id, false)).collect()
}

/// The theorems about programs.
pub(crate) fn program_theorems(program: &Program) -> Vec<Theorem> {
    let functions = functions(program);
    let mut reasons = Vec::new();
    let mut cover = Cover::Proved;
    if !functions.jumps.is_empty() {
        cover = Cover::Supported;
        reasons.push(format!(
            "{} jump(s): not pseudo-Lipschitz (Assumption B.8); by Remark B.6 the rules still give the right numbers",
            functions.jumps.join(", ")
        ));
    }
    if !functions.local.is_empty() {
        reasons.push(format!(
            "{}: pseudo-Lipschitz near the limits of the scalars only, which is how Assumption B.8 is read here",
            functions.local.join(", ")
        ));
    }
    if program.values.iter().any(|v| matches!(v.instr, Instr::Moment(_))) {
        reasons.push("it has Moments: NETSOR⊤⁺".to_owned());
    } else {
        reasons.push("it has no Moments: NETSOR⊤".to_owned());
    }
    let both = both_ways(program);
    if !both.is_empty() {
        let names: Vec<&str> = both.iter().map(|&id| program.value(id).name.as_str()).collect();
        reasons.push(format!("{} is used in both directions: ZDot terms are not zero in general", names.join(", ")));
    }
    if !functions.kinks.is_empty() && !both.is_empty() {
        reasons.push(format!("derivatives of {} are taken weakly (Remark B.6)", functions.kinks.join(", ")));
    }
    vec![Theorem { source: "TP IIb App. Thm B.4", subject: "scalars converge almost surely", cover, reasons }]
}

/// The theorems about networks.
pub(crate) fn network_theorems(network: &Network) -> Vec<Theorem> {
    let program = &network.program;
    let mut theorems = program_theorems(program);

    // The readout condition (TP IIb Setup 5.2): output weights are drawn by themselves and used nowhere else.
    let mut readout = Vec::new();
    for &output in &network.outputs {
        let value = program.value(output);
        match &value.instr {
            Instr::MatMul { matrix, .. } => {
                let uses = program
                    .values
                    .iter()
                    .filter(|v| matches!(&v.instr, Instr::MatMul { matrix: m, .. } if m.value == matrix.value))
                    .count();
                if 1 < uses {
                    readout.push(format!("the readout `{}` is used elsewhere too", program.value(matrix.value).name));
                }
            }
            _ => readout.push(format!("the output `{}` is not a product with readout weights", value.name)),
        }
    }
    let gia = if readout.is_empty() { Cover::Proved } else { Cover::Outside };
    let mut reasons = readout.clone();
    if reasons.is_empty() {
        reasons.push("readout weights are independent, centred and used nowhere else".to_owned());
    }
    let both = both_ways(program);
    if !both.is_empty() {
        let names: Vec<&str> = both.iter().map(|&id| program.value(id).name.as_str()).collect();
        reasons.push(format!("{} and its transpose are both used forward: use the exact kernel", names.join(", ")));
    }
    let gia = if both.is_empty() { gia } else { Cover::Outside };
    theorems.push(Theorem {
        source: "Simple GIA Check",
        subject: "backward pass with independent copies of the matrices",
        cover: gia,
        reasons,
    });

    let functions = functions(program);
    let mut reasons = readout;
    let mut cover = if reasons.is_empty() { Cover::Proved } else { Cover::Outside };
    let rough: Vec<&str> = functions.kinks.iter().chain(&functions.jumps).copied().collect();
    if !rough.is_empty() && cover == Cover::Proved {
        cover = Cover::Supported;
        reasons.push(format!("{}: the derivative jumps, and eq. 84 needs it pseudo-Lipschitz", rough.join(", ")));
    }
    let other: Vec<&str> = network
        .parameters
        .iter()
        .filter(|p| p.trained && !is_ntk(program, p))
        .map(|p| program.value(p.value).name.as_str())
        .collect();
    if !other.is_empty() {
        cover = Cover::Outside;
        reasons.push(format!("{} is not in the NTK parametrization", other.join(", ")));
    }
    if reasons.is_empty() {
        reasons.push("smooth functions, NTK parametrization, free readout (Setup 5.2)".to_owned());
    }
    theorems.push(Theorem {
        source: "TP IIb Thm 5.3",
        subject: "SGD follows kernel gradient descent with the limit's tangent kernel",
        cover,
        reasons,
    });
    theorems
}

fn is_ntk(program: &Program, parameter: &netsor_ir::Parameter) -> bool {
    match &program.value(parameter.value).instr {
        Instr::Matrix { variance } => (variance.power + parameter.a * 2).is_zero() && parameter.c.is_zero(),
        _ => parameter.a.is_zero() && parameter.c.is_zero(),
    }
}

/// `n x 3`
pub(crate) fn shape(program: &Program, id: ValueId) -> String {
    let dim = |dim: Dim| match dim {
        Dim::Width(class) => program.classes.get(class.index()).map_or("?", |c| c.name.as_str()).to_owned(),
        Dim::Finite(size) => size.to_string(),
    };
    match program.value(id).ty.kind {
        Kind::Matrix { rows, cols } => format!("{} x {}", dim(rows), dim(cols)),
        Kind::Vector(size) => dim(size),
        Kind::Scalar => "scalar".to_owned(),
    }
}

/// The part that a parameter plays, in words.
pub(crate) fn role(role: Role) -> &'static str {
    match role {
        Role::InputLike => "input-like",
        Role::Hidden => "hidden",
        Role::OutputLike => "output-like",
        Role::Finite => "constant size",
    }
}

/// `2/n`, as one would write it.
pub(crate) fn scale(scale: &Scale) -> String {
    let coefficient = print(&scale.coefficient);
    if scale.power.is_zero() {
        return coefficient;
    }
    let width = |p: netsor_ir::Power| match (p.is_integer(), p.is_one()) {
        (_, true) => "n".to_owned(),
        (true, _) => format!("n^{p}"),
        _ => format!("n^({p})"),
    };
    match (scale.power < Zero::zero(), scale.coefficient.is_one()) {
        (true, _) => match coefficient.split_once('/') {
            Some((over, under)) => format!("{over}/({under} {})", width(-scale.power)),
            None => format!("{coefficient}/{}", width(-scale.power)),
        },
        (false, true) => width(scale.power),
        (false, false) => format!("{coefficient} {}", width(scale.power)),
    }
}
