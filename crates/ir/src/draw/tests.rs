use super::*;
use crate::syntax::{Item, parse};

fn drawn(source: &str, options: &DrawOptions) -> String {
    let items = parse(source).unwrap();
    let programs: Vec<&Program> = items.iter().map(|p| p.item.program()).collect();
    draw_svg(&programs, options).unwrap()
}

fn diagram(source: &str) -> Diagram {
    let items = parse(source).unwrap();
    let Item::Program(program) = &items[0].item else { panic!("a program") };
    Diagram::new(program)
}

/// Every kind of node by the conventions of TP IIb App. C.
#[test]
fn shapes_follow_the_paper() {
    let source = "program p {
  data c
  matrix W ~ N(0, 1/n)
  vector a ~ N(0, 1)
  y = W * a
  x = c * tanh(y)
  b = W' * x
  moment m = mean(a * b)
  scalar s = 2 * m
}";
    let shapes: Vec<String> =
        diagram(source).nodes.iter().map(|n| format!("{:?} {}", n.shape, n.lines.join(" / "))).collect();
    insta::assert_snapshot!(shapes.join("\n"), @r"
    Square c
    Empty a
    Matrix W
    Empty y
    Gate c * tanh(y)
    Filled x
    Matrix W'
    Empty b
    BarGate a * b
    Square m
    BarGate 2 * m
    Square s
    ");
}

#[test]
fn dot_is_stable() {
    let source = "program p {\n  vector a ~ N(0, 1)\n  moment m = mean(a^2)\n}";
    let items = parse(source).unwrap();
    let dot = draw_dot(&[items[0].item.program()], &DrawOptions::default()).unwrap();
    insta::assert_snapshot!(dot, @r#"
    digraph "p" {
      rankdir=LR;
      node [fontname="monospace", fontsize=11];
      edge [arrowsize=0.6];
      n0 [shape=circle, style=filled, fillcolor=white, width=0.2, fixedsize=true, label="", xlabel="a", tooltip="a"];
      n1 [shape=record, label="{a^2|}", tooltip="moment m = mean(a^2)"];
      n2 [shape=square, style=filled, fillcolor=white, width=0.2, fixedsize=true, label="", xlabel="m", tooltip="m"];
      n0 -> n1 [arrowhead=none];
      n1 -> n2 [arrowhead=normal];
    }
    "#);
}

/// No two nodes of a layer overlap, and edges lead to the right.
#[test]
fn nodes_do_not_overlap() {
    let mut source =
        String::from("program p {\n  matrix W ~ N(0, 1/n)\n  vector x@0 ~ N(0, 1)\n  vector v ~ N(0, 1)\n");
    for k in 1..=12 {
        let (before, early) = (k - 1, k / 2);
        source.push_str(&format!("  h@{k} = W * x@{before}\n  x@{k} = tanh(h@{k} + x@{early}) * v\n"));
        source.push_str(&format!("  moment m@{k} = mean(x@{k} * v)\n"));
    }
    source.push('}');
    let diagram = diagram(&source);
    let placed = place::place(&diagram, LIMIT).unwrap();
    let layered = &placed.layered;
    for segment in &layered.segments {
        assert_eq!(layered.layer[segment.from] + 1, layered.layer[segment.to]);
    }
    let extent = |spot: usize| match layered.spots[spot] {
        layers::Spot::Node(node) => place::node_extent(&diagram.nodes[node]),
        layers::Spot::Dummy(_) => (0.0, 0.0),
    };
    for a in 0..layered.spots.len() {
        for b in 0..a {
            if layered.layer[a] == layered.layer[b] {
                let (upper, lower) = if placed.y[a] < placed.y[b] { (a, b) } else { (b, a) };
                let gap = (placed.y[lower] - extent(lower).0) - (placed.y[upper] + extent(upper).1);
                assert!(0.0 < gap, "{upper} and {lower} are {gap} apart");
            }
        }
    }
    assert_eq!(drawn(&source, &DrawOptions::default()), drawn(&source, &DrawOptions::default()));
}

/// 300 values, with connections that skip layers, well within a second.
#[test]
fn three_hundred_nodes_are_quick() {
    let mut source = String::from("program p {\n  matrix W ~ N(0, 1/n)\n  vector x@0 ~ N(0, 1)\n");
    for k in 1..=150 {
        let (before, early) = (k - 1, k * 7 % 11 * k / 11);
        source.push_str(&format!("  h@{k} = W * x@{before}\n  x@{k} = tanh(h@{k}) + x@{early}\n"));
    }
    source.push('}');
    let start = std::time::Instant::now();
    drawn(&source, &DrawOptions::default());
    // Ten times what it takes, for slow machines.
    assert!(start.elapsed().as_secs_f64() < 2.0, "{:?}", start.elapsed());
}

#[test]
fn odd_programs_are_drawn() {
    assert!(drawn("program empty {}", &DrawOptions::default()).contains("empty"));
    let family = "program p {\n  axis i = 3\n  vector a[i] ~ N(0, 1)\n  x[i] = relu(a[i])\n}";
    assert!(drawn(family, &DrawOptions::default()).contains("x[i]"));
    let unrolled = drawn(family, &DrawOptions { unroll: true, legend: false, ..DrawOptions::default() });
    assert!(unrolled.contains("x@2") && !unrolled.contains("Nonlin"));
}

#[test]
fn too_large_is_an_error() {
    let items = parse("program p {\n  vector a ~ N(0, 1)\n  x = relu(a)\n}").unwrap();
    let diagram = Diagram::new(items[0].item.program());
    assert!(matches!(place::place(&diagram, 2), Err(DrawError::TooLarge { needed: 3, limit: 2, .. })));
}

/// A deep network is cut into rows: each fits, nothing is lost, and what leaves a row enters the next.
#[test]
fn deep_networks_go_on_in_the_next_row() {
    let source = "network deep {
  data xi : 2
  param U : n x 2 ~ N(0, 1/2)
  param v : n x 1 ~ N(0, 1/n)
  h@0 = U * xi
  for l in 1..=10 {
    param W@l : n x n ~ N(0, 2/n)
    x@l = relu(h@(l-1) + h@0)
    h@l = W@l * x@l
  }
  output f = v' * h@10
}";
    let item = parse(source).unwrap().remove(0).item;
    let diagram = Diagram::new(item.program());
    let placed = place::place(&diagram, LIMIT).unwrap();
    let rows = bands::bands(&diagram, &placed, 800.0);
    assert!(2 < rows.len());
    let layers: Vec<usize> = rows.iter().flat_map(|row| row.layers.clone()).collect();
    assert_eq!(layers, (0..placed.columns.len()).collect::<Vec<_>>());
    assert!(rows.iter().all(|row| row.width <= 800.0));
    for pair in rows.windows(2) {
        assert_eq!(pair[0].exits, pair[1].entries);
        let names: Vec<&str> = pair[1].entries.iter().map(|&spot| bands::name(&diagram, &placed, spot)).collect();
        assert!(names.contains(&"h@0"), "the residual connections pass through every cut: {names:?}");
    }
    let narrow = DrawOptions { width: 800, ..DrawOptions::default() };
    let svg = drawn(source, &narrow);
    let width: f64 = svg.split('"').nth(5).unwrap().parse().unwrap();
    assert!(width <= 800.0 + 32.0, "{width}");
    assert_eq!(svg.matches("<title>").count(), 1 + diagram.nodes.len());
    // Narrower than any layer: one column a row, and no endless loop.
    let least = DrawOptions { width: 1, ..DrawOptions::default() };
    assert_eq!(drawn(source, &least).matches("<title>").count(), 1 + diagram.nodes.len());
    assert_eq!(bands::bands(&diagram, &placed, 1e6).len(), 1);
}
