//! Every architecture three times: the function of the library, the text that a user would write, and plain loops over
//! the same weights.

use netsor_finite::{Inputs, Options, execute};
use netsor_ir::syntax::{Item, parse};
use netsor_ir::verify::verify_network;
use netsor_zoo::layers::{Border, LayerList};
use netsor_zoo::{
    Activation, Affine, BatchNormMlp, BranchedMlp, Cnn, GraphNetwork, Gru, Join, LayerNormMlp, Lstm, Mlp, Network,
    OneHidden, Reduction, ResidualCnn, ResidualMlp, Rnn, Tied, Transformer, Word2vec,
};

use crate::files::example_text;

/// The width: small, and different from every other size.
const N: usize = 7;
/// Sums of at most a few hundred products of numbers of order one, in another order; normalisations divide by numbers
/// that are not small at this seed.
const TOLERANCE: f64 = 1e-11;

fn text(name: &str) -> Network {
    let source = example_text(&format!("architectures/{name}.netsor"));
    let items = parse(&source).unwrap_or_else(|errors| panic!("{}", errors.render(&source, name)));
    match items.into_iter().next().unwrap().item {
        Item::Network(network) => network,
        Item::Program(_) => panic!("{name} is a program"),
    }
}

/// A matrix, column by column.
#[derive(Clone)]
struct Matrix {
    rows: usize,
    columns: Vec<Vec<f64>>,
}

impl Matrix {
    fn times(&self, x: &[f64]) -> Vec<f64> {
        let mut y = vec![0.0; self.rows];
        for (column, x) in self.columns.iter().zip(x) {
            for (y, w) in y.iter_mut().zip(column) {
                *y += w * x;
            }
        }
        y
    }

    fn transposed_times(&self, x: &[f64]) -> Vec<f64> {
        self.columns.iter().map(|column| dot(column, x)).collect()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

fn hadamard(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a * b).collect()
}

fn each(x: &[f64], f: impl Fn(f64) -> f64) -> Vec<f64> {
    x.iter().map(|&x| f(x)).collect()
}

fn average(xs: &[Vec<f64>]) -> Vec<f64> {
    let sum = xs.iter().fold(vec![0.0; xs[0].len()], |sum, x| add(&sum, x));
    each(&sum, |s| s / xs.len() as f64)
}

fn relu(x: f64) -> f64 {
    if x > 0.0 { x } else { 0.0 }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Over the coordinates of one vector.
fn layer_norm(x: &[f64], epsilon: f64) -> Vec<f64> {
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64;
    each(x, |x| (x - mean) / (variance + epsilon).sqrt())
}

/// Over vectors, coordinate by coordinate.
fn batch_norm(xs: &[Vec<f64>], epsilon: f64) -> Vec<Vec<f64>> {
    let mean = average(xs);
    let squares: Vec<Vec<f64>> =
        xs.iter().map(|x| x.iter().zip(&mean).map(|(x, m)| (x - m).powi(2)).collect()).collect();
    let variance = average(&squares);
    let one = |x: &Vec<f64>| (0..x.len()).map(|k| (x[k] - mean[k]) / (variance[k] + epsilon).sqrt()).collect();
    xs.iter().map(one).collect()
}

/// The weights of a network as they were drawn, and its data.
struct Drawn {
    /// Each parameter in order of definition, its members in order.
    weights: Vec<Vec<Matrix>>,
    xi: Vec<Vec<f64>>,
    pattern: Vec<f64>,
}

impl Drawn {
    /// The parameter of a number, which has one member.
    fn w(&self, k: usize) -> &Matrix {
        assert_eq!(self.weights[k].len(), 1, "parameter {k} has one member");
        &self.weights[k][0]
    }

    /// A parameter that is a vector.
    fn b(&self, k: usize) -> &[f64] {
        &self.w(k).columns[0]
    }

    fn readout(&self, k: usize, x: &[f64]) -> f64 {
        self.w(k).transposed_times(x)[0]
    }

    /// Members `from..from + count` of the data.
    fn rows(&self, input: usize, count: usize) -> &[Vec<f64>] {
        &self.xi[input * count..(input + 1) * count]
    }
}

/// Numbers without a pattern, of order one.
fn wave(count: usize, phase: f64) -> Vec<f64> {
    (0..count).map(|k| ((k * k) as f64 * 0.37 + k as f64 * 1.3 + phase).sin()).collect()
}

/// Runs the network at width `N`; weights are those of `from`, in order, or drawn.
fn run(network: &Network, from: Option<&Drawn>) -> (Vec<f64>, Drawn) {
    let network = verify_network(network.clone()).unwrap();
    let program = netsor_ir::verify::verify_program(network.program.clone()).unwrap();
    let xi = program.find("xi").unwrap();
    let dim = match program.value(xi).ty.kind {
        netsor_ir::Kind::Vector(dim) => program.dim_size(dim, N),
        _ => 1,
    };
    let members: usize = program.family_sizes(xi).iter().product();
    let numbers = wave(members * dim, 0.4);
    let mut inputs = Inputs::new().with(xi, numbers.clone());
    let mut pattern = Vec::new();
    if let Some(value) = program.find("pattern") {
        pattern = wave(program.family_sizes(value).iter().product(), 0.9);
        inputs = inputs.with(value, pattern.clone());
    }
    let parameters: Vec<_> = network.parameters.iter().map(|p| p.value).collect();
    if let Some(from) = from {
        assert_eq!(parameters.len(), from.weights.len(), "as many parameters");
        for (&parameter, members) in parameters.iter().zip(&from.weights) {
            let numbers = members.iter().flat_map(|m| m.columns.concat()).collect();
            inputs = inputs.with(parameter, numbers);
        }
    }
    let wanted: Vec<_> = parameters.iter().chain(&network.outputs).copied().collect();
    let state = execute::<f64>(&program, &inputs, &wanted, &Options::new(N, 3)).unwrap();
    let weights = parameters
        .iter()
        .map(|&parameter| {
            let block = state.block(parameter).unwrap();
            let matrix = |k| {
                let columns = block.member(k).chunks(block.rows).map(<[f64]>::to_vec).collect();
                Matrix { rows: block.rows, columns }
            };
            (0..block.members).map(matrix).collect()
        })
        .collect();
    let drawn = Drawn { weights, xi: numbers.chunks(dim).map(<[f64]>::to_vec).collect(), pattern };
    (state.numbers(network.outputs[0]), drawn)
}

#[track_caller]
fn agree(what: &str, found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    assert!(expected.iter().any(|x| 0.01 < x.abs()), "{what}: the outputs are not all nearly 0: {expected:?}");
    for (k, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() < TOLERANCE, "{what}, output {k}: {found}, expected {expected}");
    }
}

/// The function's network, the text, if there is one, and the loops.
#[track_caller]
fn check(name: Option<&str>, network: &Network, direct: impl Fn(&Drawn) -> Vec<f64>) {
    let (values, drawn) = run(network, None);
    agree("the function against plain loops", &values, &direct(&drawn));
    if let Some(name) = name {
        let (of_text, _) = run(&text(name), Some(&drawn));
        agree(&format!("the text of {name} against the function"), &of_text, &values);
    }
}

#[test]
fn perceptrons() {
    let network = Mlp { inputs: 3, dim: 2, hidden: 2, b_std: 0.1, ..Mlp::default() }.network().unwrap();
    check(Some("mlp"), &network, |d| {
        let output = |x: &Vec<f64>| {
            let h = each(&add(&d.w(0).times(x), d.b(1)), f64::tanh);
            let h = each(&add(&d.w(2).times(&h), d.b(3)), f64::tanh);
            d.readout(4, &h) + d.b(5)[0]
        };
        d.xi.iter().map(output).collect()
    });
    let network = ResidualMlp { inputs: 3, dim: 2, blocks: 2, ..ResidualMlp::default() }.network().unwrap();
    check(Some("residual_mlp"), &network, |d| {
        let output = |x: &Vec<f64>| {
            let mut x = d.w(0).times(x);
            for block in 1..=2 {
                x = add(&x, &d.w(block).times(&each(&x, f64::tanh)));
            }
            d.readout(3, &each(&x, f64::tanh))
        };
        d.xi.iter().map(output).collect()
    });
    let network = LayerNormMlp { inputs: 3, dim: 2, hidden: 2, ..LayerNormMlp::default() }.network().unwrap();
    check(Some("layer_norm_mlp"), &network, |d| {
        let output = |x: &Vec<f64>| {
            let x = each(&layer_norm(&d.w(0).times(x), 1e-5), relu);
            let x = each(&layer_norm(&d.w(1).times(&x), 1e-5), relu);
            d.readout(2, &x)
        };
        d.xi.iter().map(output).collect()
    });
}

#[test]
fn batch_norm_in_separate_batches() {
    let network = BatchNormMlp { batches: 2, size: 4, dim: 3, hidden: 2, ..BatchNormMlp::default() };
    check(Some("batch_norm_mlp"), &network.network().unwrap(), |d| {
        let batch = |b: usize| {
            let mut xs = d.rows(b, 4).to_vec();
            for layer in 0..2 {
                let hs: Vec<Vec<f64>> = xs.iter().map(|x| d.w(layer).times(x)).collect();
                xs = batch_norm(&hs, 1e-5).iter().map(|h| each(h, relu)).collect();
            }
            xs.iter().map(|x| d.readout(2, x)).collect::<Vec<f64>>()
        };
        [batch(0), batch(1)].concat()
    });
}

#[test]
fn branches() {
    let (tanh, relu_after) = (Activation::Tanh, Activation::Relu);
    let branches = vec![vec![tanh, relu_after], vec![Activation::Sigmoid]];
    let product = BranchedMlp { inputs: 3, dim: 2, branches, ..BranchedMlp::default() };
    check(Some("product"), &product.network().unwrap(), |d| {
        let output = |x: &Vec<f64>| {
            let a = each(&d.w(0).times(x), |x| relu(x.tanh()));
            d.readout(2, &hadamard(&a, &each(&d.w(1).times(x), sigmoid)))
        };
        d.xi.iter().map(output).collect()
    });
    let maxout =
        BranchedMlp { inputs: 3, dim: 2, branches: vec![vec![]; 3], join: Join::Largest, ..BranchedMlp::default() };
    check(Some("maxout"), &maxout.network().unwrap(), |d| {
        let output = |x: &Vec<f64>| {
            let [a, b, c] = [0, 1, 2].map(|k| d.w(k).times(x));
            let largest: Vec<f64> = (0..N).map(|k| a[k].max(b[k]).max(c[k])).collect();
            d.readout(3, &largest)
        };
        d.xi.iter().map(output).collect()
    });
}

#[test]
fn recurrent_networks() {
    let rnn = |readout: [f64; 4]| {
        Rnn { inputs: 2, dim: 3, readout: readout.to_vec(), b_std: 0.1, ..Rnn::default() }.network().unwrap()
    };
    let states = |d: &Drawn, input: usize| {
        let mut states: Vec<Vec<f64>> = Vec::new();
        for xi in d.rows(input, 4) {
            let mut h = add(&d.w(0).times(xi), d.b(2));
            if let Some(before) = states.last() {
                h = add(&h, &d.w(1).times(before));
            }
            states.push(each(&h, f64::tanh));
        }
        states
    };
    check(Some("rnn"), &rnn([0.25; 4]), |d| (0..2).map(|i| d.readout(3, &average(&states(d, i)))).collect());
    let last = rnn([0.0, 0.0, 0.0, 1.0]);
    check(None, &last, |d| (0..2).map(|i| d.readout(3, &states(d, i)[3])).collect());
}

#[test]
fn gated_networks() {
    let map = Affine { b_std: 0.1, ..Affine::default() };
    let gru = Gru {
        inputs: 2,
        dim: 2,
        readout: vec![0.0, 0.0, 1.0],
        update: map,
        reset: map,
        candidate: map,
        ..Gru::default()
    };
    let of_gru = |d: &Drawn| {
        let output = |i: usize| {
            let mut state = vec![0.0; N];
            for xi in d.rows(i, 3) {
                let map = |k: usize, h: &[f64]| add(&add(&d.w(k).times(xi), &d.w(k + 1).times(h)), d.b(k + 2));
                let z = each(&map(0, &state), sigmoid);
                let r = each(&map(3, &state), sigmoid);
                let c = each(&map(6, &hadamard(&r, &state)), f64::tanh);
                state = (0..N).map(|k| (1.0 - z[k]) * state[k] + z[k] * c[k]).collect();
            }
            d.readout(9, &state)
        };
        (0..2).map(output).collect::<Vec<f64>>()
    };
    let network = gru.network().unwrap();
    check(Some("gru"), &network, of_gru);
    // The same as a list of layers.
    let list = example_text("layers/gru.json");
    check(Some("gru"), &LayerList::from_json(&list).unwrap().network().unwrap(), of_gru);

    let lstm = Lstm { inputs: 2, dim: 2, readout: vec![0.0, 0.0, 1.0], ..Lstm::default() }.network().unwrap();
    check(Some("lstm"), &lstm, |d| {
        let output = |i: usize| {
            let (mut state, mut memory) = (vec![0.0; N], vec![0.0; N]);
            for xi in d.rows(i, 3) {
                let map = |k: usize, h: &[f64]| add(&d.w(2 * k).times(xi), &d.w(2 * k + 1).times(h));
                let [input, forget, output] = [0, 1, 2].map(|k| each(&map(k, &state), sigmoid));
                let g = each(&map(3, &state), f64::tanh);
                memory = (0..N).map(|k| forget[k] * memory[k] + input[k] * g[k]).collect();
                state = (0..N).map(|k| output[k] * memory[k].tanh()).collect();
            }
            d.readout(8, &state)
        };
        (0..2).map(output).collect()
    });
}

/// A convolution over a square image, written as one looks at it: a window at every second position.
fn strided(image: &[Vec<f64>], size: usize, filter: &[Matrix], out: usize) -> Vec<Vec<f64>> {
    let mut result = Vec::new();
    for p in 0..out {
        for q in 0..out {
            let mut sum = vec![0.0; N];
            for k in 0..3 {
                for l in 0..3 {
                    let (r, s) = ((2 * p + k) as i64 - 1, (2 * q + l) as i64 - 1);
                    let inside = 0..size as i64;
                    if inside.contains(&r) && inside.contains(&s) {
                        sum = add(&sum, &filter[k * 3 + l].times(&image[r as usize * size + s as usize]));
                    }
                }
            }
            result.push(sum);
        }
    }
    result
}

#[test]
fn convolutional_networks() {
    let cnn = Cnn {
        inputs: 2,
        positions: vec![5, 5],
        channels: 2,
        hidden: 2,
        filter: vec![3, 3],
        strides: vec![2, 2],
        reduction: Reduction::Flatten,
        ..Cnn::default()
    };
    let direct = |d: &Drawn| {
        let output = |i: usize| {
            let x = strided(d.rows(i, 25), 5, &d.weights[0], 3);
            let x: Vec<Vec<f64>> = x.iter().map(|x| each(x, relu)).collect();
            let x = strided(&x, 3, &d.weights[1], 2);
            (0..4).map(|p| d.weights[2][p].transposed_times(&each(&x[p], relu))[0]).sum::<f64>()
        };
        (0..2).map(output).collect::<Vec<f64>>()
    };
    check(Some("cnn"), &cnn.network().unwrap(), direct);
    let list = example_text("layers/cnn.toml");
    check(Some("cnn"), &LayerList::from_toml(&list).unwrap().network().unwrap(), direct);

    // Circular, stride 1, one dimension, global average.
    let ring = Cnn { inputs: 2, positions: vec![5], channels: 2, border: Border::Circular, ..Cnn::default() };
    check(None, &ring.network().unwrap(), |d| {
        let output = |i: usize| {
            let xi = d.rows(i, 5);
            let at = |p: usize| {
                let taps = (0..3).map(|k| d.weights[0][k].times(&xi[(p + k + 4) % 5]));
                each(&taps.fold(vec![0.0; N], |sum, x| add(&sum, &x)), relu)
            };
            d.readout(1, &average(&(0..5).map(at).collect::<Vec<_>>()))
        };
        (0..2).map(output).collect()
    });
}

#[test]
fn residual_convolutions_with_batch_norm() {
    let network = ResidualCnn { inputs: 3, positions: vec![4], channels: 2, ..ResidualCnn::default() };
    check(Some("residual_cnn"), &network.network().unwrap(), |d| {
        // All inputs and positions in one list, as the norm sees them.
        let conv = |xs: &[Vec<f64>], filter: &[Matrix]| -> Vec<Vec<f64>> {
            let at = |row: usize| {
                let (i, p) = (row / 4, row % 4);
                let inside = (0..3).filter(|k| (1..5).contains(&(p + k)));
                inside.fold(vec![0.0; N], |sum, k| add(&sum, &filter[k].times(&xs[i * 4 + p + k - 1])))
            };
            (0..12).map(at).collect()
        };
        let norm = |xs: &[Vec<f64>]| batch_norm(xs, 1e-5).iter().map(|x| each(x, relu)).collect::<Vec<_>>();
        let x = conv(&d.xi, &d.weights[0]);
        let y = conv(&norm(&conv(&norm(&x), &d.weights[1])), &d.weights[2]);
        let x: Vec<Vec<f64>> = x.iter().zip(&y).map(|(x, y)| add(x, y)).collect();
        norm(&x).chunks(4).map(|x| d.readout(3, &average(x))).collect()
    });
}

/// Attention over positions with these keys and queries, whose inner products are multiplied by `scale`; every position
/// sees the first `seen(p)`.
fn attend(
    values: &[Vec<f64>],
    (queries, keys): (&[Vec<f64>], &[Vec<f64>]),
    scale: f64,
    seen: impl Fn(usize) -> usize,
) -> Vec<Vec<f64>> {
    let at = |p: usize| {
        let scores: Vec<f64> = keys[..seen(p)].iter().map(|k| scale * dot(&queries[p], k)).collect();
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights = each(&scores, |score| (score - largest).exp());
        let total: f64 = weights.iter().sum();
        let mut sum = vec![0.0; values[p].len()];
        for (weight, value) in weights.iter().zip(values) {
            sum = add(&sum, &each(value, |v| v * weight / total));
        }
        sum
    };
    (0..values.len()).map(at).collect()
}

#[test]
fn transformers() {
    let transformer = Transformer { inputs: 2, tokens: 3, dim: 2, ..Transformer::default() };
    let block = |d: &Drawn, first: usize, k: &[Vec<f64>], mixed: &[Vec<f64>]| -> Vec<Vec<f64>> {
        let one = |(k, a): (&Vec<f64>, &Vec<f64>)| {
            let z = layer_norm(&add(k, a), 1e-12);
            let h = d.w(first + 1).times(&each(&d.w(first).times(&z), relu));
            layer_norm(&add(&h, &z), 1e-12)
        };
        k.iter().zip(mixed).map(one).collect()
    };
    let tied = |d: &Drawn| {
        let output = |i: usize| {
            let k: Vec<Vec<f64>> = d.rows(i, 3).iter().map(|x| d.w(0).times(x)).collect();
            d.readout(3, &average(&block(d, 1, &k, &attend(&k, (&k, &k), 1.0 / N as f64, |_| 3))))
        };
        (0..2).map(output).collect::<Vec<f64>>()
    };
    check(Some("transformer"), &transformer.network().unwrap(), tied);
    let list = example_text("layers/transformer.toml");
    check(Some("transformer"), &LayerList::from_toml(&list).unwrap().network().unwrap(), tied);

    // Correlated keys and queries, each token sees the past; also with scores whose exponentials are no numbers.
    for (tokens, temperature) in [(3, 1.0), (5, 1e-4)] {
        let network = Transformer { tokens, temperature, correlation: Some(0.6), causal: true, ..transformer.clone() };
        check(None, &network.network().unwrap(), |d| {
            let output = |i: usize| {
                let u: Vec<Vec<f64>> = d.rows(i, tokens as usize).iter().map(|x| d.w(0).times(x)).collect();
                let keys: Vec<Vec<f64>> = u.iter().map(|u| d.w(1).times(u)).collect();
                let query =
                    |(u, k): (&Vec<f64>, &Vec<f64>)| add(&each(k, |k| 0.6 * k), &each(&d.w(2).times(u), |q| 0.8 * q));
                let queries: Vec<Vec<f64>> = u.iter().zip(&keys).map(query).collect();
                let scale = 1.0 / (N as f64 * temperature);
                d.readout(5, &average(&block(d, 3, &u, &attend(&u, (&queries, &keys), scale, |p| p + 1))))
            };
            (0..2).map(output).collect()
        });
    }
}

/// Softmax over the pixels of an image, with scores of order one, of order 10,000, whose exponentials are no numbers, and of
/// order 1e10, whose rounding is visible.
#[test]
fn attention_over_two_axes() {
    for key in [1.0, 1e4, 1e10] {
        let list = format!(
            r#"
            input = {{ inputs = 2, positions = [2, 3], channels = 2 }}
            layers = [
                {{ op = "global_self_attention", w_key_std = {key:?} }},
                {{ op = "relu" }},
                {{ op = "global_avg_pool" }},
                {{ op = "dense" }},
            ]"#
        );
        check(None, &LayerList::from_toml(&list).unwrap().network().unwrap(), |d| {
            let output = |i: usize| {
                let x = d.rows(i, 6);
                let mixed = attend(x, (x, x), key / 2.0, |_| 6);
                let h: Vec<Vec<f64>> = mixed.iter().map(|y| each(&d.w(1).times(&d.w(0).times(y)), relu)).collect();
                d.readout(2, &average(&h))
            };
            (0..2).map(output).collect()
        });
    }
}

#[test]
fn graphs() {
    let network = GraphNetwork { inputs: 2, nodes: 3, dim: 2, hidden: 2, ..GraphNetwork::default() };
    check(Some("graph_network"), &network.network().unwrap(), |d| {
        let output = |i: usize| {
            let mut xs = d.rows(i, 3).to_vec();
            for layer in 0..2 {
                let at = |node: usize| {
                    let start = vec![0.0; xs[0].len()];
                    let sum = (0..3)
                        .fold(start, |sum, p| add(&sum, &each(&xs[p], |x| x * d.pattern[(i * 3 + p) * 3 + node])));
                    each(&d.w(layer).times(&sum), relu)
                };
                xs = (0..3).map(at).collect();
            }
            d.readout(2, &average(&xs))
        };
        (0..2).map(output).collect()
    });
}

#[test]
fn tied_weights() {
    let network = Tied { inputs: 3, dim: 2, ..Tied::default() }.network().unwrap();
    let direct = |d: &Drawn| {
        let output = |x: &Vec<f64>| {
            let y = each(&d.w(1).times(&each(&d.w(0).times(x), f64::tanh)), f64::tanh);
            d.readout(2, &each(&d.w(1).transposed_times(&y), f64::tanh))
        };
        d.xi.iter().map(output).collect()
    };
    check(None, &network, direct);
    let source = example_text("tied.netsor");
    let Item::Network(typed) = parse(&source).unwrap().remove(0).item else { panic!("tied.netsor is a network") };
    check(None, &typed, direct);
}

#[test]
fn one_hidden_layer() {
    let network = OneHidden { inputs: 2, dim: 3, outputs: 2, activation: Activation::Tanh };
    check(Some("one_hidden"), &network.network().unwrap(), |d| {
        d.xi.iter().flat_map(|x| d.w(1).transposed_times(&each(&d.w(0).times(x), f64::tanh))).collect()
    });
    let network = Word2vec { inputs: 2, context: 3, vocabulary: 4 }.network().unwrap();
    check(Some("word2vec"), &network, |d| {
        let output = |i: usize| {
            let words: Vec<Vec<f64>> = d.rows(i, 3).iter().map(|x| d.w(0).times(x)).collect();
            d.w(1).transposed_times(&average(&words))
        };
        (0..2).flat_map(output).collect()
    });
    // The parametrization in the text is that of the function.
    for (name, function) in [
        ("word2vec", Word2vec { inputs: 2, context: 3, vocabulary: 4 }.network().unwrap()),
        ("one_hidden", OneHidden { inputs: 2, dim: 3, outputs: 2, activation: Activation::Tanh }.network().unwrap()),
    ] {
        let rates = |network: &Network| network.parameters.iter().map(|p| p.rate()).collect::<Vec<_>>();
        assert_eq!(rates(&text(name)), rates(&function));
    }
}

/// Lists of layers in the shape that no architecture has: max pooling, all states of a recurrent layer, dropout.
#[test]
fn layers_that_no_architecture_has() {
    let list = r#"
        input = { inputs = 2, positions = [6], channels = 2 }
        layers = [
            { op = "recurrent", states = "all" },
            { op = "max_pool", window_shape = [2], strides = [2] },
            { op = "recurrent", states = "average" },
            { op = "dense" },
        ]"#;
    check(None, &LayerList::from_toml(list).unwrap().network().unwrap(), |d| {
        let states = |xs: &[Vec<f64>], u: &Matrix, w: &Matrix| {
            let mut states: Vec<Vec<f64>> = Vec::new();
            for x in xs {
                let before = states.last().cloned().unwrap_or(vec![0.0; N]);
                states.push(each(&add(&u.times(x), &w.times(&before)), f64::tanh));
            }
            states
        };
        let output = |i: usize| {
            let x = states(d.rows(i, 6), d.w(0), d.w(1));
            let pooled: Vec<Vec<f64>> = x.chunks(2).map(|x| (0..N).map(|k| x[0][k].max(x[1][k])).collect()).collect();
            d.readout(4, &average(&states(&pooled, d.w(2), d.w(3))))
        };
        (0..2).map(output).collect()
    });
}
