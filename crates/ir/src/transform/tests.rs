//! Snapshots of what the transforms print: read them as the mathematics they should be.

use super::{
    Direction, DirectionMode, Seed, Tangents, backprop, is_reduced, joint_kernels, kernels, reduce, reduce_network,
    unroll_network,
};
use crate::network::Network;
use crate::syntax::{parse_network, print_network, print_program};
use crate::verify::verify_program;

fn example(name: &str) -> Network {
    let path = format!("{}/../../examples/{name}.netsor", env!("CARGO_MANIFEST_DIR"));
    parse_network(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The definitions that a transform adds, one a line; the result must verify.
#[track_caller]
fn added(network: &Network, program: &crate::Program) -> String {
    verify_program(program.clone()).unwrap();
    let text = print_program(program);
    let first = network.program.values.len();
    let names: Vec<String> = program.values[first..].iter().map(|v| v.name.clone()).collect();
    text.lines()
        .filter(|line| {
            let words = line.trim_start().trim_start_matches("moment ").trim_start_matches("scalar ");
            let name: String = words.chars().take_while(|c| !matches!(c, '[' | ' ')).collect();
            names.contains(&name)
        })
        .map(str::trim_start)
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn kernels_of_an_mlp() {
    let network = example("mlp");
    insta::assert_snapshot!(added(&network, &kernels(&network).unwrap().program));
}

#[test]
fn kernels_with_a_matrix_and_its_transpose() {
    let network = example("tied");
    insta::assert_snapshot!(added(&network, &kernels(&network).unwrap().program));
}

/// `f` and `e` share the readout `v`, so that they are correlated; `d` has another one and is not. Outputs of several
/// components are alike in the component.
#[test]
fn kernels_between_outputs() {
    let network = parse_network(
        "network heads {
          axis i = 2
          data xi[i] : 2
          param U : n x 2 ~ N(0, 1/2)
          param v : n x 3 ~ N(0, 1/n)
          param w : n x 1 ~ N(0, 1/n)
          g[i] = U * xi[i]
          x[i] = tanh(g[i])
          output f[i] = v' * x[i]
          output e = v' * g[0]
          output d[i] = w' * x[i]
        }",
    )
    .unwrap();
    let joint = joint_kernels(&network).unwrap();
    let names = |id| joint.program.value(id).name.as_str();
    let pairs: Vec<(&str, &str)> = joint.between.iter().map(|b| (names(b.outputs.0), names(b.outputs.1))).collect();
    assert_eq!(pairs, [("f", "e"), ("f", "d"), ("e", "d")]);
    verify_program(joint.program.clone()).unwrap();
    let text = print_program(&joint.program);
    let wanted = ["ntk_f_e", "nngp_f_e", "ntk_f_d", "nngp_f_d", "ntk_e_d_U", "nngp_e_d"];
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("scalar ") && wanted.iter().any(|name| line.contains(name)))
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    scalar ntk_f_e_U[i, f_component, f_component'] = sum i' m_df_g_de_g[i, f_component, i', f_component'] * m_xi_xi[i, i']
    scalar ntk_f_e_v[i, f_component, f_component'] = 3 * (m_g_x[0, i] * m_df_f_de_e[i, f_component, f_component'])
    scalar ntk_f_e_w[i, f_component, f_component'] = 0
    scalar ntk_f_e[i, f_component, f_component'] = ntk_f_e_U[i, f_component, f_component'] + ntk_f_e_v[i, f_component, f_component'] + ntk_f_e_w[i, f_component, f_component']
    scalar nngp_f_e[i, f_component, f_component'] = sum [f_component' = f_component] m_g_x[0, i]
    scalar ntk_f_d_U[i, f_component, i'] = m_df_g_dd_g[i, f_component, i'] * m_xi_xi[i, i']
    scalar ntk_f_d_v[i, f_component, i'] = 0
    scalar ntk_f_d_w[i, f_component, i'] = 0
    scalar ntk_f_d[i, f_component, i'] = ntk_f_d_U[i, f_component, i'] + ntk_f_d_v[i, f_component, i'] + ntk_f_d_w[i, f_component, i']
    scalar nngp_f_d[i, f_component, i'] = 0
    scalar ntk_e_d_U[f_component, i'] = sum i m_de_g_dd_g[i, f_component, i'] * m_xi_xi[i, i']
    scalar ntk_e_d[f_component, i'] = ntk_e_d_U[f_component, i'] + ntk_e_d_v[f_component, i'] + ntk_e_d_w[f_component, i']
    scalar nngp_e_d[f_component, i'] = 0
    ");
}

#[test]
fn kernels_of_a_convolution() {
    let network = example("conv");
    insta::assert_snapshot!(added(&network, &kernels(&network).unwrap().program));
}

/// Statistics over the batch tie every output to every input: the output's index becomes one of the adjoints'.
#[test]
fn adjoints_through_batch_statistics_have_the_outputs_index() {
    let network = parse_network(
        "network centred {
          axis i = 3
          data xi[i] : 2
          param U : n x 2 ~ N(0, 1/2)
          param v : n x 1 ~ N(0, 1/n)
          h[i] = U * xi[i]
          x[i] = tanh(h[i] - 1/3 * sum i' h[i'])
          output f[i] = v' * x[i]
        }",
    )
    .unwrap();
    insta::assert_snapshot!(added(&network, &backprop(&network, Seed::Components).unwrap().program));
}

/// A Moment's adjoint carries its power of n; nothing is dropped here (TP IIb App. D.4.5).
#[test]
fn moments_are_differentiated() {
    let network = parse_network(
        "network normed {
          axis i = 2
          data xi[i] : 2
          param U : n x 2 ~ N(0, 1/2)
          param v : n x 1 ~ N(0, 1/n)
          h[i] = U * xi[i]
          moment s[i] = mean(h[i]^2)
          x[i] = h[i] / sqrt(s[i] + 0.01)
          output f[i] = v' * x[i]
        }",
    )
    .unwrap();
    insta::assert_snapshot!(added(&network, &backprop(&network, Seed::Cotangents).unwrap().program));
}

#[test]
fn the_first_kernel_of_the_hierarchy() {
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
    let kernels = kernels(&network).unwrap();
    let direction = Direction::new(&network, &kernels.adjoints[0]);
    let mut tangents = Tangents::new(kernels.program.clone(), direction, DirectionMode::Live);
    tangents.apply(&[kernels.outputs[0].ntk]).unwrap();
    insta::assert_snapshot!(added(&network, &tangents.program));
}

#[test]
fn unrolling_writes_every_member_out() {
    let network = parse_network(
        "network small {
          axis i = 2
          axis p = 2
          data xi[i, p] : 1
          param U[p] : n x 1 ~ N(0, 1)
          param v : n x 1 ~ N(0, 1/n)
          g[i, p] = U[p] * xi[i, p]
          x[i] = relu(sum p [p <= i] g[i, p])
          output f[i] = v' * x[i]
        }",
    )
    .unwrap();
    let (unrolled, members) = unroll_network(&network).unwrap();
    assert_eq!(members[0].len(), 4);
    insta::assert_snapshot!(print_network(&unrolled));
}

/// TP IIb Def. 5.4: chains of Nonlin collapse, a Nonlin comes between products, and nothing else changes.
#[test]
fn reduced_programs_alternate() {
    let network = parse_network(
        "network chains {
          axis i = 2
          data xi[i] : 1
          param U : n x 1 ~ N(0, 1)
          param W : n x n ~ N(0, 1/n)
          param b : n ~ N(0, 1)
          param v : n x 1 ~ N(0, 1/n)
          g[i] = U * xi[i]
          shifted[i] = g[i] + b
          x[i] = tanh(shifted[i])
          mixed[i] = sum i' x[i'] * x[i]
          h[i] = W * mixed[i]
          k[i] = W' * h[i]
          k2[i] = W * h[i]
          moment m[i] = mean(mixed[i] * k[i])
          y[i] = m[i] * k[i] + k2[i] + mixed[i]
          output f[i] = v' * y[i]
          output f2[i] = v' * b
        }",
    )
    .unwrap();
    assert!(!is_reduced(&network.program));
    let (reduced, map) = reduce_network(&network).unwrap();
    assert!(is_reduced(&reduced.program));
    assert_eq!(reduced.program.value(map[network.outputs[0].index()]).name, "f");
    insta::assert_snapshot!(print_network(&reduced));
    crate::verify::verify_network(reduced.clone()).unwrap();
    // Once is enough.
    let (again, _) = reduce(&reduced.program).unwrap();
    assert_eq!(print_program(&again), print_program(&reduced.program));
}

/// A residual chain over positions mentions each layer twice in the next: written out it has 2^60 leaves, but equal terms
/// are shared, also where they are inside sums.
#[test]
fn collapsed_chains_share_their_terms() {
    let mut text = "program chain {\n axis p = 40\n vector x@0[p] ~ N(0, 1)".to_owned();
    for k in 0..60 {
        text.push_str(&format!("\n x@{}[p] = tanh(x@{k}[p] + sum p' [p' = p + 1] x@{k}[p'])", k + 1));
    }
    text.push_str("\n}\n");
    let program = crate::syntax::parse_program(&text).unwrap();
    let (reduced, _) = reduce(&program).unwrap();
    assert!(is_reduced(&reduced));
    // For each layer and each number of sums around it: a mention, a sum, an addition, a function, and what substitution
    // leaves on the way.
    assert!(reduced.exprs.len() < 60 * 60 * 20, "{}", reduced.exprs.len());
}

/// The unit vectors of the components are a table with a row and a column for each.
#[test]
fn outputs_of_absurd_dimension_are_refused() {
    let network = parse_network(
        "network wide {
          data xi : 2
          param U : n x 2 ~ N(0, 1/2)
          param V : n x 70000 ~ N(0, 1/n)
          h = U * xi
          output f = V' * h
        }",
    )
    .unwrap();
    let error = backprop(&network, Seed::Components).unwrap_err();
    assert_eq!(error.to_string(), "`f` has 70000 components; at most 4096 can be taken one by one");
    assert!(backprop(&network, Seed::Cotangents).is_ok());
}
