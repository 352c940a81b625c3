use netsor_gauss::Tolerance;
use netsor_ir::syntax::{parse_network, parse_program, print_program};
use netsor_ir::transform::kernels;

use super::{Counterexample, Target, smallest_difference};

#[track_caller]
fn reduced(source: &str, name: &str) -> Option<Counterexample> {
    let program = parse_program(source).unwrap_or_else(|e| panic!("{e}"));
    let target = Target::Scalar(program.find(name).unwrap(), vec![]);
    smallest_difference(&program, &target, &[], Tolerance::default()).unwrap()
}

/// The least program with a return path, whatever is around it.
#[test]
fn what_does_not_matter_goes() {
    let found = reduced(
        "program p {
  matrix W ~ N(0, 3/n)
  matrix A ~ N(0, 1/n)
  vector a ~ N(0, 2)
  vector c ~ N(1, 1)
  h = A * c
  z = tanh(a + h) + 2 * c
  y = W * z
  x = relu(y) * sigmoid(c)
  k = A' * y
  moment s = mean(x^2)
  b = W' * x
  moment m = s * mean(z * b + k^2)
}"
        .replace("moment m = s * mean(z * b + k^2)", "moment m = mean(s * (z * b) + k^2)")
        .as_str(),
        "m",
    )
    .unwrap();
    let printed = print_program(&found.program);
    assert_eq!(found.program.values.len(), 5, "{printed}");
    assert!((found.exact.value - found.independent.value).abs() > 0.1, "{printed}");
}

/// The tangent kernel of a network with tied weights, reduced to a few lines.
#[test]
fn the_kernel_of_an_autoencoder() {
    let source = "network tied {
  axis i = 2
  data xi[i] : 2
  param U : n x 2 ~ N(0, 1/2)
  param W : n x n ~ N(0, 1/n)
  param v : n x 1 ~ N(0, 1/n)
  g[i] = U * xi[i]
  z[i] = tanh(g[i])
  h[i] = W * z[i]
  x2[i] = tanh(h[i])
  k[i] = W' * x2[i]
  x3[i] = tanh(k[i])
  output f[i] = v' * x3[i]
}";
    let network = parse_network(source).unwrap();
    let kernels = kernels(&network).unwrap();
    let xi = kernels.program.find("xi").unwrap();
    let target = Target::Scalar(kernels.outputs[0].ntk, vec![0, 1]);
    let data = [(xi, vec![1.0, 0.2, 0.6, 0.8])];
    let found = smallest_difference(&kernels.program, &target, &data, Tolerance::default()).unwrap().unwrap();
    let printed = print_program(&found.program);
    assert!(found.program.values.len() <= 5 && found.data.is_empty(), "{printed}");
}

/// Gradient independence is right for a perceptron: nothing to show.
#[test]
fn where_the_answers_agree_there_is_none() {
    let source = "program p {\nmatrix W ~ N(0, 1/n)\nvector a ~ N(0, 1)\nvector v ~ N(0, 1)\ny = W * a\nx = tanh(y)\n\
                  d = (1 - x^2) * v\nt = W' * d\nmoment m = mean(t^2)\nmoment l = mean(t * a)\n}";
    assert!(reduced(source, "m").is_none() && reduced(source, "l").is_none());
}
