//! Transforms in the limit: what keeps the meaning of a program keeps its limits, and training has the limit that
//! Theorem 5.3 says.

use netsor_ir::number::{fraction, integer};
use netsor_ir::program::{Instr, Program, ValueId};
use netsor_ir::syntax::parse_network;
use netsor_ir::transform::{Kernels, Loss, Sgd, cse, dce, kernels, reduce, unroll_program, unroll_sgd};
use netsor_ir::{Index, Indices, Network};
use netsor_limit::{Data, Deriver, Evaluator};
use netsor_tests::goldens::asked;

use crate::files::example_text;

/// Networks whose limits have closed forms: the examples with another function in place of tanh.
fn examples() -> [(&'static str, Network); 2] {
    [("mlp", "erf("), ("tied", "(")].map(|(name, function)| {
        let text = example_text(&format!("{name}.netsor")).replace("tanh(", function);
        (name, parse_network(&text).unwrap())
    })
}

/// Numbers for the data of a program by name and member, so that a family and its members have the same.
fn data(program: &Program) -> Data {
    let mut data = Data::new();
    for id in program.value_ids().filter(|&id| matches!(program.value(id).instr, Instr::Data)) {
        let value = program.value(id);
        let size = match value.ty.kind {
            netsor_ir::Kind::Vector(dim) => program.dim_size(dim, 1),
            _ => 1,
        };
        let (stem, member) = value.name.split_once('@').unwrap_or((&value.name, "0"));
        let first: usize = member.parse().unwrap();
        let count: usize = program.family_sizes(id).iter().product();
        let phase = stem.bytes().map(f64::from).sum::<f64>();
        let number = |k: usize| (phase + 0.7 * k as f64).sin();
        data = data.with(id, (first * size..(first + count) * size).map(number).collect());
    }
    data
}

/// Limits of all members of the wanted scalars.
fn limits(program: &Program, wanted: &[ValueId]) -> Vec<f64> {
    let mut deriver = Deriver::new(program);
    let exprs: Vec<_> = wanted.iter().map(|&v| deriver.scalar(v).unwrap()).collect();
    let graph = deriver.into_graph();
    let data = data(program);
    let mut evaluator = Evaluator::new(&graph, program, &data, asked(1e-10)).unwrap();
    let mut found = Vec::new();
    for (&value, expr) in wanted.iter().zip(exprs) {
        let sizes = program.family_sizes(value);
        for flat in 0..sizes.iter().product::<usize>() {
            let mut rest = flat;
            let mut at = vec![0; sizes.len()];
            for k in (0..sizes.len()).rev() {
                at[k] = (rest % sizes[k]) as u32;
                rest /= sizes[k];
            }
            found.push(evaluator.value(expr, &at).unwrap().value);
        }
    }
    found
}

#[track_caller]
fn same(name: &str, found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(expected) {
        // Integrals were asked to 1e-10; a few of them are added and multiplied by numbers of order one.
        assert!((a - b).abs() < 1e-8, "{name}: {a} {b}");
    }
}

/// Every entry of the kernels, not only the diagonal, of the program and of the program written out, merged, reduced.
#[test]
fn kernels_survive_every_transform() {
    for (name, network) in examples() {
        let Kernels { program, outputs, .. } = kernels(&network).unwrap();
        let wanted: Vec<ValueId> = [Some(outputs[0].ntk), outputs[0].nngp].into_iter().flatten().collect();
        let expected = limits(&program, &wanted);

        let (plain, members) = unroll_program(&program).unwrap();
        let all: Vec<ValueId> = wanted.iter().flat_map(|w| members[w.index()].iter().copied()).collect();
        same(name, &limits(&plain, &all), &expected);

        let (merged, images) = cse(&program, &wanted).unwrap();
        let kept: Vec<ValueId> = wanted.iter().map(|v| images[v.index()].value).collect();
        let (small, map) = dce(&merged, &kept).unwrap();
        let kept: Vec<ValueId> = kept.iter().map(|v| map[v.index()].unwrap()).collect();
        same(name, &limits(&small, &kept), &expected);

        let (reduced, map) = reduce(&program).unwrap();
        let kept: Vec<ValueId> = wanted.iter().map(|v| map[v.index()]).collect();
        same(name, &limits(&reduced, &kept), &expected);
        let whole: Indices = [Index::Var(0), Index::Var(1)].into_iter().collect();
        assert_eq!(images[wanted[0].index()].indices, whole);
    }
}

/// A nonlinear function of nonlinear values at neighbouring positions, as a program of families and written out. The
/// range of the inner sum depends on the value's own position, and is empty at the end.
#[test]
fn sums_over_neighbours_may_be_inside_a_function() {
    let network = parse_network(
        "network neighbours {
          axis p = 3
          data xi[p] : 2
          param U : n x 2 ~ N(0, 1)
          param v : n x 1 ~ N(0, 1/n)
          h[p] = U * xi[p]
          x[p] = erf(h[p] + 1/2 * sum q in p [q = p + 1] erf(h[q] - 1/3) * (1 + h[q]))
          output f[p] = v' * x[p]
        }",
    )
    .unwrap();
    let Kernels { program, outputs, .. } = kernels(&network).unwrap();
    let wanted: Vec<ValueId> = [Some(outputs[0].ntk), outputs[0].nngp].into_iter().flatten().collect();
    let (plain, members) = unroll_program(&program).unwrap();
    let all: Vec<ValueId> = wanted.iter().flat_map(|w| members[w.index()].iter().copied()).collect();
    same("neighbours", &limits(&program, &wanted), &limits(&plain, &all));
}

/// TP IIb Thm 5.3: the limit of training is gradient descent with the limit of the tangent kernel, also for a network that
/// uses a matrix and its transpose; here two steps, the first on one input, the second on another.
#[test]
fn training_has_the_limit_of_kernel_descent() {
    for (name, network) in examples() {
        let kernels = kernels(&network).unwrap();
        let kernel = limits(&kernels.program, &[kernels.outputs[0].ntk]);
        let n = (kernel.len() as f64).sqrt() as usize;
        let weights = |k: usize| (0..n).map(|j| integer(i64::from(j == k))).collect::<Vec<_>>();
        let sgd = Sgd {
            steps: 2,
            rates: vec![fraction(1, 2)],
            batches: vec![weights(0), weights(1)],
            loss: Loss::Value("(f - y)^4 / 4".into()),
            ..Sgd::default()
        };
        let training = unroll_sgd(&network, &sgd).unwrap().simplified().unwrap();
        let output = &training.outputs[0];
        let found = limits(&training.program, &output.at);
        let target = data_of(&training.program, output.target, n);
        let mut f = data_of(&training.program, output.at[0], n);
        same(name, &found[..n], &f);
        for step in 0..2 {
            let chi = 0.5 * (f[step] - target[step]).powi(3);
            f = (0..n).map(|i| f[i] - kernel[i * n + step] * chi).collect();
            same(name, &found[(step + 1) * n..(step + 2) * n], &f);
        }
    }
}

/// The numbers that [`data`] gives a scalar family.
fn data_of(program: &Program, id: ValueId, count: usize) -> Vec<f64> {
    let phase = program.value(id).name.bytes().map(f64::from).sum::<f64>();
    (0..count).map(|k| (phase + 0.7 * k as f64).sin()).collect()
}
