//! Paths of random networks, by enumeration: the list of paths, and that the signals along them sum to the adjoints that
//! `backprop` takes (TP IIb App. eq. 74).

use std::collections::BTreeSet;
use std::fmt::Write as _;

use netsor_finite::{Inputs, Options, State, execute};
use netsor_ir::Network;
use netsor_ir::paths::{path_adjoints, paths};
use netsor_ir::program::{Program, ValueId};
use netsor_ir::syntax::parse_network;
use netsor_ir::transform::{Seed, backprop};
use netsor_ir::verify::verify_program;
use netsor_num::streams::Streams;
use rand::RngExt;

const NETWORKS: u64 = 60;
const WIDTH: usize = 5;
const MOST: u64 = 2000;

/// A vector of a random network.
enum Node {
    /// A matrix times an earlier vector.
    Product(usize),
    /// A function of earlier vectors.
    Function(Vec<usize>),
}

/// A random network without families, with repeated `W` and `W'`: its nodes, the last of which is read out.
struct Random {
    nodes: Vec<Node>,
    text: String,
}

impl Random {
    fn new(seed: u64) -> Self {
        let mut rng = Streams::new(seed).stream("random networks", 0);
        let mut text =
            "network random {\n  data xi : 2\n  param U : n x 2 ~ N(0, 1/2)\n  param W : n x n ~ N(0, 1/n)\n  \
                        param v : n x 1 ~ N(0, 1/n)\n  x0 = U * xi\n"
                .to_owned();
        let mut nodes = vec![Node::Product(usize::MAX)];
        for k in 1..rng.random_range(6..14) {
            if rng.random_range(0..5) < 2 {
                let operand = rng.random_range(0..k);
                let matrix = if rng.random_range(0..2) == 0 { "W" } else { "W'" };
                let _ = writeln!(text, "  x{k} = {matrix} * x{operand}");
                nodes.push(Node::Product(operand));
            } else {
                let arguments: BTreeSet<usize> = (0..rng.random_range(1..4)).map(|_| rng.random_range(0..k)).collect();
                let terms: Vec<String> = arguments
                    .iter()
                    .map(|j| match rng.random_range(0..3) {
                        0 => format!("x{j}"),
                        1 => format!("tanh(x{j})"),
                        _ => format!("(1 + sin(x{j}))"),
                    })
                    .collect();
                let _ =
                    writeln!(text, "  x{k} = {}", terms.join(if rng.random_range(0..2) == 0 { " + " } else { " * " }));
                nodes.push(Node::Function(arguments.into_iter().collect()));
            }
        }
        let _ = writeln!(text, "  output f = v' * x{}\n}}", nodes.len() - 1);
        Self { nodes, text }
    }

    fn network(&self) -> Network {
        parse_network(&self.text).unwrap_or_else(|errors| panic!("{}", errors.render(&self.text, "random")))
    }

    /// The products that a node is a function of.
    fn sources(&self, node: usize) -> BTreeSet<usize> {
        match &self.nodes[node] {
            Node::Product(_) => [node].into(),
            Node::Function(arguments) => arguments.iter().flat_map(|&a| self.sources(a)).collect(),
        }
    }

    /// Every path from one of its products on, by names: Def. 5.5 read forwards, where `paths` goes backwards.
    fn walks(&self) -> BTreeSet<String> {
        let products = || (0..self.nodes.len()).filter(|&k| matches!(self.nodes[k], Node::Product(_)));
        let operand = |g: usize| match self.nodes[g] {
            Node::Product(x) => x,
            Node::Function(_) => unreachable!("only products are asked"),
        };
        let name = |x: usize| if x == usize::MAX { "xi".to_owned() } else { format!("x{x}") };
        let last = self.sources(self.nodes.len() - 1);
        let mut found = BTreeSet::new();
        let mut open: Vec<(usize, String)> =
            products().map(|g| (g, format!("{} {}", name(operand(g)), name(g)))).collect();
        while let Some((g, walk)) = open.pop() {
            for next in
                products().filter(|&next| operand(next) != usize::MAX && self.sources(operand(next)).contains(&g))
            {
                open.push((next, format!("{walk} {} {}", name(operand(next)), name(next))));
            }
            if last.contains(&g) {
                found.insert(walk);
            }
        }
        found
    }
}

fn run(program: &Program, wanted: &[ValueId]) -> Vec<Vec<f64>> {
    let inputs = Inputs::new().with(program.find("xi").unwrap(), vec![0.8, -0.5]);
    let program = verify_program(program.clone()).unwrap();
    let state: State<f64> = execute(&program, &inputs, wanted, &Options::new(WIDTH, 11)).unwrap();
    wanted.iter().map(|&v| state.numbers(v)).collect()
}

#[test]
fn paths_are_all_walks_and_their_signals_sum_to_adjoints() {
    let (mut compared, mut several) = (0, 0);
    for seed in 0..NETWORKS {
        let random = Random::new(seed);
        let network = random.network();
        let output = network.outputs[0];
        let all = paths(&network, output, MOST).unwrap();
        let names = |vectors: &[ValueId]| {
            let names: Vec<&str> = vectors.iter().map(|&v| network.program.value(v).name.as_str()).collect();
            names.join(" ")
        };
        let listed: BTreeSet<String> = all.iter().map(|path| names(&path.vectors)).collect();
        assert_eq!(listed.len(), all.len(), "a path is listed twice: {}", random.text);
        assert_eq!(listed, random.walks(), "{}", random.text);

        let signals = path_adjoints(&network, output, &all).unwrap();
        let along = run(&signals.program, &signals.signals);
        let backward = backprop(&network, Seed::Components).unwrap();
        for (&value, &adjoint) in &backward.outputs[0].adjoints {
            let through: Vec<usize> = (0..all.len()).filter(|&k| all[k].vectors[1] == value).collect();
            if through.is_empty() {
                continue;
            }
            let expected = run(&backward.program, &[adjoint]).remove(0);
            for (alpha, expected) in expected.iter().enumerate() {
                let terms: Vec<f64> = through.iter().map(|&k| along[k][alpha]).collect();
                let (sum, size): (f64, f64) = (terms.iter().sum(), terms.iter().map(|t| t.abs()).sum());
                // Rounding of sums of up to MOST terms, each a product along a path of ten vectors.
                assert!((sum - expected).abs() <= 1e-11 * (1.0 + size), "{sum} {expected}\n{}", random.text);
            }
            compared += 1;
            several += usize::from(1 < through.len());
        }
    }
    // The networks are not trivial.
    assert!(100 < compared && 20 < several, "{compared} adjoints, {several} of several paths");
}
