//! Paths of a network (TP IIb Def. 5.5): the ways by which an error signal comes back from the output.
//!
//! A path `p` is `p0, p1, ..., p-1`: it starts with an X-var or an input, alternates between X- and G-vars, and ends with
//! a G-var that the embedding is a function of. `p1 = W p0` for the matrix `W` of `p1`, `p2` is a function of `p1`, and so
//! on. Two paths are *isomorphic* if their matrices are the same, one by one; what happens between them may differ.
//! The error signal that comes back along a path is `J^p` (App. eqs. 75-78), and the adjoint of a G-var `g` is the sum
//! of `J^p` over the paths with `p1 = g` (eq. 74, where the sum also needs the path of length two that ends in `g`).
//!
//! Everything here is about *plain* networks, as [`unroll_network`](crate::transform::unroll_network) makes them: a
//! convolution has a path for every chain of positions, a recurrence one for every chain of times. Their number grows
//! fast; it is counted first, and more than a limit is an error. The path *formula* does not need the list: `limit`
//! sums over pairs of isomorphic paths by recursion.
//!
//! Moments are passed over: what comes back through a Moment vanishes in the limit (App. D.4.5).
//!
//! ```
//! use netsor_ir::{paths::paths, syntax::parse_network, transform::unroll_network};
//!
//! let network = parse_network(
//!     "network n {
//!        data xi : 3
//!        param U : n x 3 ~ N(0, 1/3)
//!        param W : n x n ~ N(0, 1/n)
//!        param v : n x 1 ~ N(0, 1/n)
//!        g = U * xi
//!        z = tanh(g)
//!        h = W * z
//!        x = tanh(h) + z
//!        output f = v' * x
//!      }",
//! )?;
//! let (plain, _) = unroll_network(&network)?;
//! let all = paths(&plain, plain.outputs[0], 100)?;
//! let text: Vec<String> = all.iter().map(|p| p.show(&plain.program)).collect();
//! assert_eq!(text, ["xi -U-> g", "xi -U-> g -> z -W-> h", "z -W-> h"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use rustc_hash::FxHashMap;

use crate::calculus::Derivative;
use crate::expr::ExprId;
use crate::network::Network;
use crate::number::power;
use crate::program::{Dim, Instr, Kind, Operand, Program, ValueId, symbol_of, value_of};
use crate::transform::TransformError;
use crate::transform::backprop::width_power;

/// One path of a plain network.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    /// The vectors `p0, p1, ..., p-1`.
    pub vectors: Vec<ValueId>,
    /// The product with readout weights through which the output depends on the last G-var.
    pub readout: ValueId,
}

impl Path {
    /// `|p|`, the number of vectors; always even.
    pub fn len(&self) -> usize {
        self.vectors.len()
    }

    /// Whether there are no vectors, which is never the case for a path that was enumerated.
    pub fn is_empty(&self) -> bool {
        self.vectors.is_empty()
    }

    /// The G-vars `p1, p3, ..., p-1`.
    pub fn g_vars(&self) -> impl Iterator<Item = ValueId> + '_ {
        self.vectors.iter().copied().skip(1).step_by(2)
    }

    /// The defining matrices of the G-vars, and whether they are transposed there.
    pub fn matrices<'a>(&'a self, program: &'a Program) -> impl Iterator<Item = (ValueId, bool)> + 'a {
        self.g_vars().filter_map(|g| defining_matrix(program, g))
    }

    /// Whether two paths have the same sequence of matrices, the readout's included (Def. 5.5).
    pub fn is_isomorphic(&self, other: &Path, program: &Program) -> bool {
        self.len() == other.len()
            && self.matrices(program).eq(other.matrices(program))
            && defining_matrix(program, self.readout) == defining_matrix(program, other.readout)
    }

    /// `xi -U-> g -> z -W-> h`
    pub fn show(&self, program: &Program) -> String {
        let mut out = String::new();
        for (k, &vector) in self.vectors.iter().enumerate() {
            match (k, defining_matrix(program, vector)) {
                (0, _) => {}
                (k, Some((matrix, transposed))) if k % 2 == 1 => {
                    let prime = if transposed { "'" } else { "" };
                    out.push_str(&format!(" -{}{prime}-> ", program.value(matrix).name));
                }
                _ => out.push_str(" -> "),
            }
            out.push_str(&program.value(vector).name);
        }
        out
    }
}

/// The matrix of a product, and whether it is transposed.
pub fn defining_matrix(program: &Program, g: ValueId) -> Option<(ValueId, bool)> {
    match &program.value(g).instr {
        Instr::MatMul { matrix, transposed, .. } => Some((matrix.value, *transposed)),
        _ => None,
    }
}

/// Why paths cannot be listed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The network has families.
    #[error("`{name}` is a family; paths are those of the plain network, which `unroll` makes")]
    Family {
        /// The value.
        name: String,
    },
    /// There are more paths than allowed.
    #[error("`{output}` has {count} paths, more than the limit of {limit}")]
    TooMany {
        /// The output.
        output: String,
        /// Their number; `u64::MAX` stands for that many or more.
        count: u64,
        /// The limit.
        limit: u64,
    },
    /// The output is not a sum of readouts.
    #[error(transparent)]
    Output(#[from] TransformError),
}

/// A readout that an output is a sum of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The product with readout weights.
    pub readout: ValueId,
    /// Its coefficient in the output, a term over scalars in the pool of [`Reduced::program`].
    pub coefficient: ExprId,
}

/// A plain network in which every vector is known as a function of G-vars: the standard form of Def. 5.4, as a table.
#[derive(Clone, Debug)]
pub struct Reduced {
    /// The network's program; its pool also holds the terms below.
    pub program: Program,
    /// Each vector as a term over G-vars, initial vectors and scalars; other values are themselves.
    pub functions: Vec<ExprId>,
    /// For each value, the values whose change it passes on and the partial derivatives in them: G-vars and initial
    /// vectors for vectors. Empty for values that are not vectors.
    pub derivatives: Vec<Vec<(ValueId, ExprId)>>,
}

impl Reduced {
    /// The table of a plain network.
    ///
    /// # Errors
    /// [`PathError::Family`] if a value is a family.
    pub fn new(network: &Network) -> Result<Self, PathError> {
        let mut program = network.program.clone();
        if let Some(value) = program.values.iter().find(|v| !v.ty.family.is_empty()) {
            return Err(PathError::Family { name: value.name.clone() });
        }
        let mut functions: Vec<ExprId> = Vec::with_capacity(program.values.len());
        let mut fresh = 1000;
        for id in program.value_ids() {
            let function = match (&program.value(id).instr, program.value(id).ty.kind) {
                (&Instr::Map(expr), Kind::Vector(_)) => {
                    let Program { exprs, values, .. } = &mut program;
                    exprs.replace_refs(expr, &mut fresh, &mut |_, symbol, _, _| {
                        let value = values.get(value_of(symbol).index())?;
                        let inline = matches!((&value.instr, value.ty.kind), (Instr::Map(_), Kind::Vector(_)));
                        functions.get(value_of(symbol).index()).copied().filter(|_| inline)
                    })
                }
                _ => program.exprs.reference(symbol_of(id), []),
            };
            functions.push(function);
        }
        let mut derivatives = Vec::with_capacity(functions.len());
        for (id, &function) in program.value_ids().zip(&functions) {
            let vector = |id: ValueId| matches!(program.value(id).ty.kind, Kind::Vector(_));
            if !vector(id) {
                derivatives.push(Vec::new());
                continue;
            }
            let vectors: Vec<bool> = program.value_ids().map(vector).collect();
            let occurrences = program.exprs.occurrences(function, Derivative::Pointwise, &mut fresh, &|s| {
                vectors.get(value_of(s).index()).copied().unwrap_or(false)
            });
            derivatives.push(occurrences.into_iter().map(|o| (value_of(o.symbol), o.coefficient)).collect());
        }
        Ok(Self { program, functions, derivatives })
    }

    /// The readouts that an output is a sum of. Biases of outputs are left out: no path goes through them.
    ///
    /// # Errors
    /// [`PathError::Output`] if the output is not such a sum.
    pub fn heads(&mut self, output: ValueId) -> Result<Vec<Head>, PathError> {
        let refuse = |name: &str, reason: &str| {
            let reason = reason.to_owned();
            Err(PathError::Output(TransformError::NoGaussianProcess { name: name.to_owned(), reason }))
        };
        let value = self.program.value(output);
        if !matches!(value.ty.kind, Kind::Vector(Dim::Finite(_))) {
            return refuse(&value.name, "it is not a vector of constant dimension made of readouts");
        }
        let mut heads = Vec::new();
        for &(part, coefficient) in &self.derivatives[output.index()] {
            let definition = self.program.value(part);
            match &definition.instr {
                Instr::MatMul { vector, .. } if is_wide(&self.program, vector.value) => {
                    if self.program.expr_dim(coefficient).is_some() {
                        return refuse(&definition.name, "the output is not linear in it");
                    }
                    heads.push(Head { readout: part, coefficient });
                }
                Instr::Gaussian(_) | Instr::Data | Instr::Constant(..) => {}
                _ => return refuse(&definition.name, "it is not a product with readout weights"),
            }
        }
        Ok(heads)
    }

    /// The vector that a product multiplies.
    pub fn operand(&self, product: ValueId) -> Option<ValueId> {
        match &self.program.value(product).instr {
            Instr::MatMul { vector, .. } => Some(vector.value),
            _ => None,
        }
    }

    /// For each value, the products whose operand depends on it, and the derivative of the operand.
    pub fn consumers(&self) -> Vec<Vec<(ValueId, ExprId)>> {
        let mut consumers = vec![Vec::new(); self.program.values.len()];
        for product in self.program.value_ids() {
            let Some(operand) = self.operand(product) else { continue };
            for &(source, derivative) in &self.derivatives[operand.index()] {
                consumers[source.index()].push((product, derivative));
            }
        }
        consumers
    }

    /// The derivative of `x` in the G-var `g`; 0 if there is none.
    fn derivative(&mut self, x: ValueId, g: ValueId) -> ExprId {
        let terms: Vec<ExprId> =
            self.derivatives[x.index()].iter().filter(|&&(source, _)| source == g).map(|&(_, d)| d).collect();
        self.program.exprs.add_all(terms)
    }
}

fn is_wide(program: &Program, id: ValueId) -> bool {
    matches!(program.value(id).ty.kind, Kind::Vector(Dim::Width(_)))
}

/// All paths to an output of a plain network, in the order of their vectors.
///
/// # Errors
/// [`PathError::TooMany`] with their number if there are more than `limit`; [`PathError::Family`] and
/// [`PathError::Output`] for networks without paths in this sense.
///
/// Cost: linear in the size of the answer, after one pass that counts.
pub fn paths(network: &Network, output: ValueId, limit: u64) -> Result<Vec<Path>, PathError> {
    let mut reduced = Reduced::new(network)?;
    let heads = reduced.heads(output)?;
    let count = count(&reduced, &heads);
    if limit < count {
        let output = network.program.value(output).name.clone();
        return Err(PathError::TooMany { output, count, limit });
    }
    let mut found = Vec::new();
    // Depth first from the output back, with an explicit stack: each entry is a suffix of a path.
    let mut stack: Vec<(Vec<ValueId>, ValueId)> = Vec::new();
    for head in heads.iter().rev() {
        let Some(embedding) = reduced.operand(head.readout) else { continue };
        for g in sources(&reduced, embedding).into_iter().rev() {
            stack.push((vec![g], head.readout));
        }
    }
    while let Some((suffix, readout)) = stack.pop() {
        // The suffix is stored backwards and ends in a G-var `g = W x`; `x` starts a path, or is passed through.
        let Some(x) = suffix.last().and_then(|&g| reduced.operand(g)) else { continue };
        let mut whole = suffix.clone();
        whole.push(x);
        for g in sources(&reduced, x).into_iter().rev() {
            let mut longer = whole.clone();
            longer.push(g);
            stack.push((longer, readout));
        }
        whole.reverse();
        found.push(Path { vectors: whole, readout });
    }
    found.sort_by(|p, q| p.vectors.cmp(&q.vectors));
    Ok(found)
}

/// The products that a vector is a function of.
fn sources(reduced: &Reduced, x: ValueId) -> Vec<ValueId> {
    let mut found: Vec<ValueId> = Vec::new();
    for &(source, _) in &reduced.derivatives[x.index()] {
        if matches!(reduced.program.value(source).instr, Instr::MatMul { .. }) && !found.contains(&source) {
            found.push(source);
        }
    }
    found
}

/// The number of paths, `u64::MAX` for that many or more.
fn count(reduced: &Reduced, heads: &[Head]) -> u64 {
    // The number of suffixes of paths that begin with a product, from the output back.
    let mut suffixes = vec![0u64; reduced.program.values.len()];
    for head in heads {
        for g in reduced.operand(head.readout).map(|x| sources(reduced, x)).unwrap_or_default() {
            suffixes[g.index()] = suffixes[g.index()].saturating_add(1);
        }
    }
    let mut total = 0u64;
    for g in reduced.program.value_ids().rev() {
        let here = suffixes[g.index()];
        if here == 0 {
            continue;
        }
        total = total.saturating_add(here);
        for source in reduced.operand(g).map(|x| sources(reduced, x)).unwrap_or_default() {
            suffixes[source.index()] = suffixes[source.index()].saturating_add(here);
        }
    }
    total
}

/// The program of the signals `J^p`.
#[derive(Clone, Debug)]
pub struct PathAdjoints {
    /// The network's values unchanged, then the signals.
    pub program: Program,
    /// `J^p` for each path, in the order given: the part of `sqrt(n) df/dp1` that comes back along `p`.
    pub signals: Vec<ValueId>,
}

/// Appends the signals `J^p` of paths to an output by the recursion of App. eq. 78: `J^p = psi'(.., p1, ..) * W' J^{p:3}`.
/// Paths that end alike share instructions. Outputs with several components are differentiated in the first.
///
/// # Errors
/// As [`paths`].
pub fn path_adjoints(network: &Network, output: ValueId, paths: &[Path]) -> Result<PathAdjoints, PathError> {
    let mut reduced = Reduced::new(network)?;
    let heads = reduced.heads(output)?;
    let mut known: FxHashMap<(ValueId, Vec<ValueId>), ValueId> = FxHashMap::default();
    let mut signals = Vec::with_capacity(paths.len());
    for path in paths {
        let g_vars: Vec<ValueId> = path.g_vars().collect();
        // From the last G-var back.
        let mut signal = None;
        for k in (0..g_vars.len()).rev() {
            let key = (path.readout, g_vars[k..].to_vec());
            let value = match known.get(&key) {
                Some(&value) => value,
                None => {
                    let g = g_vars[k];
                    let (product, above) = match (g_vars.get(k + 1), signal) {
                        (Some(&next), Some(signal)) => (next, signal),
                        _ => {
                            let top = (path.readout, Vec::new());
                            let top = match known.get(&top) {
                                Some(&top) => top,
                                None => {
                                    let value = seed(&mut reduced, &heads, output, path.readout);
                                    *known.entry(top).or_insert(value)
                                }
                            };
                            (path.readout, top)
                        }
                    };
                    let value = step(&mut reduced, g, product, above);
                    known.insert(key, value);
                    value
                }
            };
            signal = Some(value);
        }
        signals.extend(signal);
    }
    Ok(PathAdjoints { program: reduced.program, signals })
}

/// The adjoint of a readout: the coefficient of it in the output, in the first component.
fn seed(reduced: &mut Reduced, heads: &[Head], output: ValueId, readout: ValueId) -> ValueId {
    let Kind::Vector(Dim::Finite(size)) = reduced.program.value(output).ty.kind else {
        unreachable!("heads are those of outputs of constant dimension")
    };
    let terms: Vec<ExprId> = heads.iter().filter(|h| h.readout == readout).map(|h| h.coefficient).collect();
    let program = &mut reduced.program;
    let coefficient = program.exprs.add_all(terms);
    let expr = if size == 1 {
        coefficient
    } else {
        let axis = program.unused_name("component");
        let axis = program.axis(&axis, size);
        let entries = (0..size).map(|k| crate::number::integer(i64::from(k == 0))).collect();
        let table = program.unused_name("unit");
        let table = program.table(&table, &[axis], entries);
        let name = program.unused_name("e");
        let unit =
            program.define(&name, &[], Kind::Vector(Dim::Finite(size)), Instr::Constant(table, Default::default()));
        let unit = program.member(unit, &[]);
        program.exprs.mul(coefficient, unit)
    };
    let name = program.unused_name("J_f");
    program.define(&name, &[], Kind::Vector(Dim::Finite(size)), Instr::Map(expr))
}

/// One step back: from the signal at a product `A x` to that at `g`, of which `x` is a function.
fn step(reduced: &mut Reduced, g: ValueId, product: ValueId, above: ValueId) -> ValueId {
    let Instr::MatMul { matrix, transposed, vector } = reduced.program.value(product).instr.clone() else {
        unreachable!("paths go through products")
    };
    let derivative = reduced.derivative(vector.value, g);
    let program = &mut reduced.program;
    let operand = |o: &Operand| o.value;
    let name = program.unused_name("t");
    let back = program.matmul(&name, &[], (operand(&matrix), &[]), !transposed, (above, &[]));
    let dim = |program: &Program, v: ValueId| match program.value(v).ty.kind {
        Kind::Vector(dim) => Some(dim),
        _ => None,
    };
    // sqrt(size of g / size of the product), sizes of constant dimensions counting as one.
    let (below, up) = (dim(program, g), dim(program, product));
    let below = width_power(program, below, power(1, 2));
    let up = width_power(program, up, power(-1, 2));
    let back = program.member(back, &[]);
    let factor = program.exprs.mul(below, up);
    let term = program.exprs.mul(derivative, back);
    let term = program.exprs.mul(factor, term);
    let name = program.unused_name("J");
    program.map(&name, &[], term)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::parse_network;
    use crate::transform::unroll_network;
    use crate::verify::verify_program;

    #[track_caller]
    fn plain(body: &str) -> Network {
        let ends = "param U : n x 3 ~ N(0, 1/3)\nparam W : n x n ~ N(0, 1/n)\nparam v : n x 1 ~ N(0, 1/n)";
        let source =
            format!("network n {{\ndata xi[i] : 3\n{ends}\n{body}\n}}").replace("data xi[i]", "axis i = 1\ndata xi[i]");
        let network = parse_network(&source).unwrap_or_else(|e| panic!("{e}"));
        unroll_network(&network).unwrap().0
    }

    fn listed(network: &Network) -> String {
        let all = paths(network, network.outputs[0], 1000).unwrap();
        all.iter().map(|p| p.show(&network.program)).collect::<Vec<_>>().join("\n")
    }

    /// TP IIb Figure 2: in a recurrent network a path may leave by any time step.
    #[test]
    fn recurrent_network() {
        let network = plain(
            "g[i] = U * xi[i]\nx@1[i] = tanh(g[i])\nfor t in 2..=3 {\nh@t[i] = W * x@(t - 1)[i]\nx@t[i] = tanh(h@t[i] + g[i])\n}\n\
             output f[i] = v' * x@3[i]",
        );
        insta::assert_snapshot!(listed(&network), @"
        xi@0 -U-> g@0
        xi@0 -U-> g@0 -> x@1@0 -W-> h@2@0 -> x@2@0 -W-> h@3@0
        xi@0 -U-> g@0 -> x@2@0 -W-> h@3@0
        x@1@0 -W-> h@2@0 -> x@2@0 -W-> h@3@0
        x@2@0 -W-> h@3@0
        ");
        // Figure 3: two paths of length two through the same matrix are isomorphic, whatever they pass.
        let all = paths(&network, network.outputs[0], 10).unwrap();
        let program = &network.program;
        assert!(!all[1].is_isomorphic(&all[2], program));
        assert!(all[0].is_isomorphic(&all[0], program) && !all[0].is_isomorphic(&all[4], program));
    }

    #[test]
    fn transposed_matrices_are_shown() {
        let network =
            plain("g[i] = U * xi[i]\nh[i] = W * g[i]\ny[i] = tanh(h[i])\nk[i] = W' * y[i]\noutput f[i] = v' * k[i]");
        assert!(listed(&network).ends_with("y@0 -W'-> k@0"));
    }

    #[test]
    fn their_number_is_counted_before_they_are_listed() {
        let mut body = "h@0[i] = U * xi[i]\n".to_owned();
        for t in 1..=70 {
            let s = t - 1;
            body += &format!("x@{t}[i] = tanh(h@{s}[i])\na@{t}[i] = W * x@{t}[i]\nh@{t}[i] = h@{s}[i] + a@{t}[i]\n");
        }
        let network = plain(&format!("{body}output f[i] = v' * h@70[i]"));
        let error = paths(&network, network.outputs[0], 1000).unwrap_err();
        assert!(matches!(error, PathError::TooMany { count, limit: 1000, .. } if 1 << 60 < count), "{error}");
    }

    #[test]
    fn families_and_other_outputs_are_refused() {
        let source = "network n { axis i = 2\ndata xi[i] : 3\nparam U : n x 3 ~ N(0, 1)\nparam v : n x 1 ~ N(0, 1/n)\n\
                      g[i] = U * xi[i]\noutput f[i] = v' * g[i] }";
        let network = parse_network(source).unwrap();
        assert!(matches!(paths(&network, network.outputs[0], 10), Err(PathError::Family { .. })));
        let network = plain("g[i] = U * xi[i]\nmoment m[i] = mean(g[i])\noutput scalar f[i] = m[i]");
        assert!(matches!(paths(&network, network.outputs[0], 10), Err(PathError::Output(_))));
    }

    /// The recursion of eq. 78, with shared suffixes: three paths through one `W' v`.
    #[test]
    fn signals_along_paths() {
        let network = plain(
            "g[i] = U * xi[i]\nz[i] = tanh(g[i])\nh[i] = W * z[i]\nx[i] = tanh(h[i]) + z[i]\noutput f[i] = v' * x[i]",
        );
        let all = paths(&network, network.outputs[0], 10).unwrap();
        let adjoints = path_adjoints(&network, network.outputs[0], &all).unwrap();
        assert_eq!(adjoints.signals.len(), 3);
        let printed = crate::syntax::print_program(&verify_program(adjoints.program).unwrap());
        let tail = printed.split("f@0 = ").nth(1).unwrap();
        insta::assert_snapshot!(tail, @"
        v' * x@0
          J_f : 1 = 1
          t = v * J_f
          J = n^(1/2) * ((1 - tanh(g@0)^2) * t)
          t_1 = v * J_f
          J_1 = n^(1/2) * ((1 - tanh(h@0)^2) * t_1)
          t_2 = W' * J_1
          J_2 = (1 - tanh(g@0)^2) * t_2
        }
        ");
    }
}
