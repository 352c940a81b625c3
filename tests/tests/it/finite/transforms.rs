//! Transforms that keep the meaning of a program, by execution: the same draws give the same numbers before and after.

use netsor_finite::{Inputs, Options, State, execute};
use netsor_ir::number::{fraction, power};
use netsor_ir::program::{Instr, ValueId};
use netsor_ir::syntax::parse_network;
use netsor_ir::transform::{
    Direction, DirectionMode, Readouts, Sgd, Tangents, cse, cse_network, dce, dce_network, is_reduced, kernels, reduce,
    reduce_network, unroll_program, unroll_sgd,
};
use netsor_ir::verify::{verify_network, verify_program};
use netsor_ir::{Network, Program};

use crate::everything;
use crate::files::example;

const WIDTH: usize = 12;

/// Numbers for the data of a program, by name.
fn data(program: &Program) -> Inputs {
    let mut inputs = Inputs::new();
    for id in program.value_ids().filter(|&id| matches!(program.value(id).instr, Instr::Data)) {
        let value = program.value(id);
        let size = match value.ty.kind {
            netsor_ir::Kind::Vector(dim) => program.dim_size(dim, WIDTH),
            _ => 1,
        };
        let count = size * program.family_sizes(id).iter().product::<usize>();
        let phase = value.name.bytes().map(f64::from).sum::<f64>();
        inputs.set(id, (0..count).map(|k| (phase + 0.9 * k as f64).sin()).collect());
    }
    inputs
}

/// The numbers of the wanted values; the program must verify.
fn run(program: &Program, wanted: &[ValueId]) -> Vec<Vec<f64>> {
    let inputs = data(program);
    let program = verify_program(program.clone()).unwrap();
    let state: State<f64> = execute(&program, &inputs, wanted, &Options::new(WIDTH, 3)).unwrap();
    wanted.iter().map(|&v| state.numbers(v)).collect()
}

#[track_caller]
fn same(found: &[Vec<f64>], expected: &[Vec<f64>]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(expected) {
            // Sums are taken in another order: rounding of a few hundred terms.
            assert!((a - b).abs() < 1e-12 * (1.0 + b.abs()), "{a} {b}");
        }
    }
}

/// Kernels, the first kernels of the hierarchy and a training run of a network: programs with what transforms leave.
fn programs(network: &Network) -> Vec<(Program, Vec<ValueId>)> {
    let mut all = Vec::new();
    let of_kernels = kernels(network).unwrap();
    let mut wanted = vec![of_kernels.outputs[0].ntk];
    wanted.extend(of_kernels.outputs[0].nngp);
    all.push((of_kernels.program.clone(), wanted.clone()));
    for mode in [DirectionMode::Live, DirectionMode::Frozen] {
        let direction = Direction::new(network, &of_kernels.adjoints[0]);
        let mut tangents = Tangents::new(of_kernels.program.clone(), direction, mode);
        let tangent = tangents.apply(&[of_kernels.outputs[0].ntk]).unwrap();
        all.push((tangents.program, tangent));
    }
    for exponent in [power(1, 2), power(0, 1)] {
        let readouts = Readouts::Computed;
        let sgd = Sgd { steps: 2, rates: vec![fraction(1, 10)], exponent, readouts, ..Sgd::default() };
        let training = unroll_sgd(network, &sgd).unwrap();
        all.push((training.program, training.outputs[0].at.clone()));
    }
    all
}

#[test]
fn merging_and_leaving_out_keep_the_numbers() {
    for name in ["mlp", "tied", "conv", "layernorm"] {
        for (program, wanted) in programs(&example(name)) {
            let expected = run(&program, &wanted);
            let (merged, images) = cse(&program, &wanted).unwrap();
            let members =
                |p: &Program| -> usize { p.value_ids().map(|v| p.family_sizes(v).iter().product::<usize>()).sum() };
            assert!(members(&merged) < members(&program), "{name}: something is equal");
            let kept: Vec<ValueId> = wanted.iter().map(|v| images[v.index()].value).collect();
            same(&run(&merged, &kept), &expected);
            let (small, map) = dce(&merged, &kept).unwrap();
            assert!(small.values.len() <= merged.values.len());
            let kept: Vec<ValueId> = kept.iter().map(|v| map[v.index()].unwrap()).collect();
            same(&run(&small, &kept), &expected);
            // A second time there is nothing to do.
            let (again, _) = cse(&small, &kept).unwrap();
            let names = |p: &Program| p.values.iter().map(|v| v.name.clone()).collect::<Vec<_>>();
            assert_eq!(names(&again), names(&small), "{name}");
            let (again, _) = dce(&small, &kept).unwrap();
            assert_eq!(names(&again), names(&small), "{name}");
        }
    }
}

/// Where a value went, and which of its indices are left, is right for every value and not only for what was kept.
#[test]
fn images_name_the_same_numbers() {
    let network = everything::everything().network.into_inner();
    let program = kernels(&network).unwrap().program;
    let all: Vec<ValueId> =
        program.value_ids().filter(|&v| !matches!(program.value(v).instr, Instr::Matrix { .. })).collect();
    let expected = run(&program, &all);
    let (merged, images) = cse(&program, &[]).unwrap();
    let targets: Vec<ValueId> = all.iter().map(|v| images[v.index()].value).collect();
    let found = run(&merged, &targets);
    for ((value, expected), found) in all.iter().zip(&expected).zip(&found) {
        let sizes = program.family_sizes(*value);
        let image = &images[value.index()];
        let target_sizes = merged.family_sizes(image.value);
        let size = expected.len() / sizes.iter().product::<usize>();
        for member in 0..sizes.iter().product::<usize>() {
            let mut rest = member;
            let mut at = vec![0u32; sizes.len()];
            for k in (0..sizes.len()).rev() {
                at[k] = (rest % sizes[k]) as u32;
                rest /= sizes[k];
            }
            let target = image
                .indices
                .iter()
                .zip(&target_sizes)
                .fold(0, |flat, (&i, &s)| flat * s + netsor_ir::index::position(i, &at, &[]).unwrap() as usize);
            let (a, b) = (&found[target * size..(target + 1) * size], &expected[member * size..(member + 1) * size]);
            same(&[a.to_vec()], &[b.to_vec()]);
        }
    }
}

#[test]
fn networks_keep_their_parameters_and_outputs() {
    let network = parse_network(
        "network n {
          axis i = 2
          data xi[i] : 2
          param U : n x 2 ~ N(0, 1/2)
          param unused : n ~ N(0, 1)
          param v : n x 1 ~ N(0, 1/n)
          a[i] = U * xi[i]
          b[i] = U * xi[i]
          twice[i] = tanh(b[i])
          copy[i] = twice[i]
          x[i] = tanh(a[i]) + copy[i]
          lost[i] = abs(x[i])
          output f[i] = v' * x[i]
          output again[i] = v' * x[i]
        }",
    )
    .unwrap();
    let (merged, _) = cse_network(&network).unwrap();
    let (small, map) = dce_network(&merged).unwrap();
    assert_eq!(map.iter().filter(|v| v.is_none()).count(), 1);
    let names: Vec<&str> = small.program.values.iter().map(|v| v.name.as_str()).collect();
    assert_eq!(names, ["xi", "U", "unused", "v", "a", "twice", "x", "f", "again"]);
    let small = verify_network(small).unwrap();
    same(&run(&small.program, &small.outputs), &run(&network.program, &network.outputs));
}

/// Training with merged instructions has what the program before had.
#[test]
fn simplified_training_is_the_same_training() {
    let sgd = Sgd { steps: 2, rates: vec![fraction(1, 10)], ..Sgd::default() };
    for name in ["mlp", "layernorm"] {
        let training = unroll_sgd(&example(name), &sgd).unwrap();
        let small = training.simplified().unwrap();
        assert!(small.program.values.len() < training.program.values.len());
        let (a, b) = (&training.outputs[0], &small.outputs[0]);
        same(&run(&small.program, &b.at), &run(&training.program, &a.at));
        same(&run(&small.program, &b.chi), &run(&training.program, &a.chi));
        assert_eq!(small.program.value(b.target).name, "y");
        assert_eq!(small.conditions[0].data, b.at[0]);
        for (before, after) in training.times.iter().zip(&small.times) {
            assert!(!after.is_empty());
            for (id, &value) in after {
                same(&run(&small.program, &[value]), &run(&training.program, &[before[id]]));
            }
        }
    }
}

/// A program with families and the same written out: every entry of the kernels, and of the next kernels.
#[test]
fn unrolled_programs_have_the_same_numbers() {
    for name in ["mlp", "tied", "conv"] {
        let network = example(name);
        for (program, wanted) in programs(&network).into_iter().take(2) {
            let (plain, members) = unroll_program(&program).unwrap();
            // Draws are keyed by name, so the unrolled program is given those of the families.
            let initial: Vec<ValueId> = program
                .value_ids()
                .filter(|&v| matches!(program.value(v).instr, Instr::Matrix { .. } | Instr::Gaussian(_) | Instr::Data))
                .collect();
            let numbers = run(&program, &initial);
            let mut inputs = Inputs::new();
            for (id, numbers) in initial.iter().zip(&numbers) {
                let members = &members[id.index()];
                for (&member, numbers) in members.iter().zip(numbers.chunks(numbers.len() / members.len())) {
                    inputs.set(member, numbers.to_vec());
                }
            }
            let all: Vec<ValueId> = wanted.iter().flat_map(|w| members[w.index()].iter().copied()).collect();
            let plain = verify_program(plain).unwrap();
            let state: State<f64> = execute(&plain, &inputs, &all, &Options::new(WIDTH, 3)).unwrap();
            let found: Vec<f64> = all.iter().flat_map(|&v| state.numbers(v)).collect();
            same(&[found], &[run(&program, &wanted).concat()]);
        }
    }
}

/// The standard form has the numbers of the program, and of the network the same kernels.
#[test]
fn reduced_programs_have_the_same_numbers() {
    for name in ["mlp", "tied", "conv", "layernorm"] {
        let network = example(name);
        for (program, wanted) in programs(&network) {
            let (reduced, map) = reduce(&program).unwrap();
            assert!(is_reduced(&reduced), "{name}");
            let kept: Vec<ValueId> = wanted.iter().map(|v| map[v.index()]).collect();
            same(&run(&reduced, &kept), &run(&program, &wanted));
        }
        let (reduced, _) = reduce_network(&network).unwrap();
        let (before, after) = (kernels(&network).unwrap(), kernels(&reduced).unwrap());
        same(&run(&after.program, &[after.outputs[0].ntk]), &run(&before.program, &[before.outputs[0].ntk]));
    }
}

/// Tangents compose: the derivative of a program along a direction is the same whether the direction stays live or is
/// frozen *afterwards*, and frozen directions are differentiated by tangents that do not know of the freezing.
#[test]
fn tangents_along_live_and_frozen_directions_compose() {
    let network = parse_network(
        "network shallow {
          axis i = 2
          data xi[i] : 2
          param U : n x 2 ~ N(0, 1/2)
          param v : n x 1 ~ N(0, 1/n)
          h[i] = U * xi[i]
          x[i] = tanh(h[i])
          output f[i] = v' * x[i]
        }",
    )
    .unwrap();
    let of_kernels = kernels(&network).unwrap();
    let start = |program: &Program, mode| {
        Tangents::new(program.clone(), Direction::new(&network, &of_kernels.adjoints[0]), mode)
    };
    let composed = |first, second| {
        let mut inner = start(&of_kernels.program, first);
        let k3 = inner.apply(&[of_kernels.outputs[0].ntk]).unwrap();
        let mut outer = start(&inner.program, second);
        let k4 = outer.apply(&k3).unwrap();
        run(&outer.program, &[k3[0], k4[0]])
    };
    let repeated = |mode| {
        let mut tangents = start(&of_kernels.program, mode);
        let k3 = tangents.apply(&[of_kernels.outputs[0].ntk]).unwrap();
        let k4 = tangents.apply(&k3).unwrap();
        run(&tangents.program, &[k3[0], k4[0]])
    };
    use DirectionMode::{Frozen, Live};
    let hierarchy = repeated(Live);
    for (first, second) in [(Live, Live), (Live, Frozen), (Frozen, Live), (Frozen, Frozen)] {
        same(&composed(first, second), &hierarchy);
    }
    // Only repetition of one frozen direction gives nabla^2 K (g, g), which is symmetric in its two directions; K4 is
    // not (K4(a,b,c,d) - K4(a,b,d,c) = <grad K2(a,b), H_c g_d - H_d g_c>).
    let frozen = repeated(Frozen);
    same(&frozen[..1], &hierarchy[..1]);
    let asymmetry = |k4: &[f64]| (0..4).map(|ab| (k4[4 * ab + 1] - k4[4 * ab + 2]).abs()).fold(0.0, f64::max);
    let size = hierarchy[1].iter().fold(0.0f64, |m, x| m.max(x.abs()));
    assert!(asymmetry(&frozen[1]) < 1e-12 * size, "{:?}", frozen[1]);
    assert!(1e-3 * size < asymmetry(&hierarchy[1]), "{:?}", hierarchy[1]);
}
