use super::*;
use crate::expr::Expr;
use crate::func::Func;
use crate::id::Id;
use crate::index::{Guard, Relation};
use crate::number::{fraction, power, power_to_f64, to_f64};

/// The platform's functions.
struct Std;

impl Functions<f64> for Std {
    fn unary(&self, name: &str) -> Option<fn(f64) -> f64> {
        Some(match name {
            "tanh" => f64::tanh,
            "sin" => f64::sin,
            "exp" => f64::exp,
            "abs" => f64::abs,
            "sqrt" => f64::sqrt,
            _ => return None,
        })
    }
    fn binary(&self, name: &str) -> Option<fn(f64, f64) -> f64> {
        Some(match name {
            "max" => f64::max,
            "min" => f64::min,
            _ => return None,
        })
    }
    fn power(&self) -> fn(f64, f64) -> f64 {
        f64::powf
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % n
    }

    fn unit(&mut self) -> f64 {
        self.below(1 << 20) as f64 / f64::from(1 << 19) - 1.0
    }
}

const SIZES: [u32; 3] = [2, 3, 4];

fn axes() -> Vec<Axis> {
    SIZES.iter().map(|&size| Axis { name: format!("a{size}"), size }).collect()
}

fn tables() -> Vec<Table> {
    let entries = (0..12).map(|k| fraction((k * k) % 7 - 3, 4)).collect();
    vec![Table { name: "t".into(), axes: vec![Id::new(1), Id::new(2)], entries }]
}

/// A random term over symbols 0 (one axis of size 4) and 1 (a scalar), with the index variables in scope.
fn random_term(
    pool: &mut Exprs,
    random: &mut Random,
    scope: &mut Vec<(Index, u32)>,
    fresh: &mut u32,
    fuel: u32,
) -> ExprId {
    let index = |random: &mut Random, scope: &[(Index, u32)], size: u32| {
        let fitting: Vec<Index> = scope.iter().filter(|(_, s)| *s <= size).map(|&(i, _)| i).collect();
        match random.below(fitting.len() as u64 + 1) as usize {
            k if k < fitting.len() => fitting[k],
            _ => Index::At(random.below(u64::from(size)) as u32),
        }
    };
    if fuel == 0 {
        return match random.below(6) {
            0 => pool.constant(fraction(random.below(9) as i64 - 4, 4)),
            1 => pool.intern(Expr::Width(power(-1, 2))),
            2 => pool.reference(Symbol(1), []),
            3 => {
                let (i, j) = (index(random, scope, 3), index(random, scope, 4));
                pool.table(Id::new(0), [i, j])
            }
            _ => {
                let i = index(random, scope, 4);
                pool.reference(Symbol(0), [i])
            }
        };
    }
    let mut sub = |pool: &mut Exprs, random: &mut Random| random_term(pool, random, scope, fresh, fuel - 1);
    match random.below(12) {
        0 | 1 => {
            let (a, b) = (sub(pool, random), sub(pool, random));
            pool.intern(Expr::Add(a, b))
        }
        2 => {
            let (a, b) = (sub(pool, random), sub(pool, random));
            pool.intern(Expr::Sub(a, b))
        }
        3 | 4 => {
            let (a, b) = (sub(pool, random), sub(pool, random));
            pool.intern(Expr::Mul(a, b))
        }
        5 => {
            // A denominator of at least one.
            let (a, b) = (sub(pool, random), sub(pool, random));
            let (one, square) = (pool.integer(1), pool.intern(Expr::Pow(b, power(2, 1))));
            let denominator = pool.intern(Expr::Add(one, square));
            let denominator = pool.intern(Expr::Pow(denominator, power(random.below(6) as i64 + 1, 4)));
            pool.intern(Expr::Div(a, denominator))
        }
        6 => {
            let a = sub(pool, random);
            let a = pool.apply(Func::Tanh, a);
            pool.intern(Expr::Neg(a))
        }
        7 => {
            let (a, b) = (sub(pool, random), sub(pool, random));
            pool.apply2(Func::Max, a, b)
        }
        8 => {
            let a = sub(pool, random);
            pool.intern(Expr::Pow(a, power(random.below(4) as i64, 1)))
        }
        _ => {
            let k = random.below(2) + 1;
            let mut variables = Vec::new();
            for _ in 0..k {
                let axis = random.below(3) as usize;
                variables.push((Index::Var(*fresh), Id::new(axis)));
                scope.push((Index::Var(*fresh), SIZES[axis]));
                *fresh += 1;
            }
            let body = random_term(pool, random, scope, fresh, fuel - 1);
            let mut guards = Vec::new();
            for _ in 0..random.below(3) {
                let relation = match random.below(3) {
                    0 => Relation::Eq,
                    1 => Relation::Le,
                    _ => Relation::EqMod(random.below(3) as u32 + 1),
                };
                let terms: Vec<(i64, Index)> = (0..random.below(3) + 1)
                    .map(|_| (random.below(5) as i64 - 2, scope[random.below(scope.len() as u64) as usize].0))
                    .collect();
                guards.push(Guard::new(relation, terms, random.below(5) as i64 - 2));
            }
            scope.truncate(scope.len() - k as usize);
            pool.sum_exact(&variables, guards, body)
        }
    }
}

/// The value of a term by recursion over all assignments: sums are opened, never solved.
fn naive(pool: &mut Exprs, id: ExprId, values: &mut Vec<(Index, u32)>, leaf: &dyn Fn(u32, &[u32]) -> f64) -> f64 {
    let at = |i: &Index, values: &[(Index, u32)]| match i {
        Index::At(p) => *p,
        other => values.iter().rfind(|(v, _)| v == other).unwrap().1,
    };
    match pool.node(id).clone() {
        Expr::Const(x) => to_f64(&x),
        Expr::Pi => std::f64::consts::PI,
        Expr::Width(p) => 9f64.powf(power_to_f64(p)),
        Expr::Ref(s, i) => leaf(s.0, &i.iter().map(|i| at(i, values)).collect::<Vec<_>>()),
        Expr::Table(_, i) => to_f64(&tables()[0].entries[(at(&i[0], values) * 4 + at(&i[1], values)) as usize]),
        Expr::Neg(a) => -naive(pool, a, values, leaf),
        Expr::Add(a, b) => naive(pool, a, values, leaf) + naive(pool, b, values, leaf),
        Expr::Sub(a, b) => naive(pool, a, values, leaf) - naive(pool, b, values, leaf),
        Expr::Mul(a, b) => naive(pool, a, values, leaf) * naive(pool, b, values, leaf),
        Expr::Div(a, b) => naive(pool, a, values, leaf) / naive(pool, b, values, leaf),
        Expr::Pow(a, p) => naive(pool, a, values, leaf).powf(power_to_f64(p)),
        Expr::Apply(f, args) => {
            let args: Vec<f64> = args.iter().map(|&a| naive(pool, a, values, leaf)).collect();
            match args[..] {
                [a] => Std.unary(f.name()).unwrap()(a),
                [a, b] => Std.binary(f.name()).unwrap()(a, b),
                _ => unreachable!("functions have one or two arguments"),
            }
        }
        Expr::Sum(sum) => {
            let mut fresh = 1000 + values.len() as u32;
            let opened = pool.open(&sum, &mut fresh);
            let sizes: Vec<u32> = opened.variables.iter().map(|(_, a)| SIZES[a.index()]).collect();
            let mut total = 0.0;
            for mut k in 0..sizes.iter().product::<u32>() {
                let before = values.len();
                for (&(variable, _), size) in opened.variables.iter().zip(&sizes) {
                    values.push((variable, k % size));
                    k /= size;
                }
                let holds = |g: &Guard| {
                    let left: i64 =
                        g.constant() + g.terms().iter().map(|(c, i)| c * i64::from(at(i, values))).sum::<i64>();
                    match g.relation() {
                        Relation::Eq => left == 0,
                        Relation::Le => left <= 0,
                        Relation::EqMod(m) => left.rem_euclid(i64::from(m)) == 0,
                    }
                };
                if opened.guards.iter().all(holds) {
                    total += naive(pool, opened.body, values, leaf);
                }
                values.truncate(before);
            }
            total
        }
    }
}

/// 2000 random terms with nested guarded sums: the tape agrees with the naive evaluator. Both sum a few hundred terms
/// in different orders; 1e-11 relative to the largest intermediate value leaves room for cancellation.
#[test]
fn random_terms_agree_with_recursion() {
    let (axes, tables) = (axes(), tables());
    let mut random = Random(1);
    let mut scratch = Scratch::default();
    let mut sums = 0;
    for case in 0..2000 {
        let mut pool = Exprs::new();
        let mut fresh = 2;
        let mut scope = vec![(Index::Var(0), 3), (Index::Var(1), 4)];
        let roots: Vec<ExprId> =
            (0..2).map(|_| random_term(&mut pool, &mut random, &mut scope, &mut fresh, 4)).collect();
        let environments = [[Index::At(2), Index::At(3)], [Index::At(0), Index::At(1)]];
        let setting = Setting { axes: &axes, tables: &tables, width: 9.0, ..Setting::new(&pool, &Std) };
        let compiled: Vec<(ExprId, &[Index])> = roots.iter().zip(&environments).map(|(&r, e)| (r, &e[..])).collect();
        let tape = Tape::compile(&setting, &compiled).unwrap();

        // Symbol 1 is the same for the whole batch, symbol 0 varies; the batch ends within a block.
        let batch = if case % 100 == 0 { BLOCK + 3 } else { 3 };
        let columns: Vec<Vec<f64>> = (0..4).map(|_| (0..batch).map(|_| random.unit()).collect()).collect();
        let scalar = random.unit();
        let inputs: Vec<Input<'_, f64>> = tape
            .inputs()
            .iter()
            .map(|(symbol, indices)| match (symbol.0, &indices[..]) {
                (0, &[Index::At(p)]) => Input::Batch(&columns[p as usize]),
                _ => Input::Scalar(scalar),
            })
            .collect();
        let (mut a, mut b) = (vec![0.0; batch], vec![0.0; batch]);
        tape.eval(&inputs, &mut [&mut a, &mut b], &mut scratch);

        for element in [0, batch - 1] {
            let leaf = |symbol: u32, p: &[u32]| if symbol == 0 { columns[p[0] as usize][element] } else { scalar };
            let once: Vec<f64> = inputs
                .iter()
                .map(|i| match i {
                    Input::Scalar(x) => *x,
                    Input::Batch(x) => x[element],
                })
                .collect();
            let once = tape.eval_once(&once);
            assert_eq!(once, [a[element], b[element]], "batch and single evaluation are the same operations");
            for (k, &root) in roots.iter().enumerate() {
                let mut values: Vec<(Index, u32)> = environments[k]
                    .iter()
                    .enumerate()
                    .map(|(v, i)| (Index::Var(v as u32), if let Index::At(p) = i { *p } else { 0 }))
                    .collect();
                let expected = naive(&mut pool.clone(), root, &mut values, &leaf);
                assert!(
                    (once[k] - expected).abs() <= 1e-11 * (1.0 + expected.abs()),
                    "case {case}: tape {}, recursion {expected}",
                    once[k]
                );
            }
        }
        pool.visit(roots[0], &mut |node| sums += usize::from(matches!(node, Expr::Sum(_))));
    }
    assert!(1000 < sums, "the generator makes sums: {sums}");
}

#[test]
fn equations_are_solved_not_enumerated() {
    // sum i, j, k [i = j] [j = 2 k] x[i]: three axes of 10^4 positions would be 10^12 assignments.
    let axes = vec![Axis { name: "i".into(), size: 10_000 }];
    let mut pool = Exprs::new();
    let (i, j, k) = (Index::Var(0), Index::Var(1), Index::Var(2));
    let body = pool.reference(Symbol(0), [i]);
    let guards = [Guard::equal(i, j), Guard::new(Relation::Eq, [(1, j), (-2, k)], 0)];
    let sum = pool.sum_exact(&[(i, Id::new(0)), (j, Id::new(0)), (k, Id::new(0))], guards, body);
    let setting = Setting { axes: &axes, limit: 60_000, ..Setting::new(&pool, &Std) };
    let tape = Tape::compile(&setting, &[(sum, &[])]).unwrap();
    assert_eq!(tape.inputs().len(), 5000);

    let setting = Setting { axes: &axes, limit: 100, ..Setting::new(&pool, &Std) };
    assert_eq!(Tape::compile(&setting, &[(sum, &[])]).unwrap_err(), TapeError::TooLarge { limit: 100 });
}

#[test]
fn equal_operations_and_members_are_shared() {
    // A softmax over three scores: the denominator is computed once for all three members.
    let axes = axes();
    let mut pool = Exprs::new();
    let (i, j) = (Index::Var(0), Index::Var(1));
    let (score, other) = (pool.reference(Symbol(0), [i]), pool.reference(Symbol(0), [j]));
    let (score, other) = (pool.apply(Func::Exp, score), pool.apply(Func::Exp, other));
    let sum = pool.sum_exact(&[(j, Id::new(1))], [], other);
    let softmax = pool.intern(Expr::Div(score, sum));
    let setting = Setting { axes: &axes, ..Setting::new(&pool, &Std) };
    let environments = [[Index::At(0)], [Index::At(1)], [Index::At(2)]];
    let roots: Vec<(ExprId, &[Index])> = environments.iter().map(|e| (softmax, &e[..])).collect();
    let tape = Tape::compile(&setting, &roots).unwrap();
    assert_eq!(tape.len(), 3 + 3 + 2 + 3, "inputs, exponentials, additions, quotients");
    let p = tape.eval_once(&[0.0, 0.0, 0.0]);
    assert_eq!(p, [1.0 / 3.0; 3]);
}

#[test]
fn errors_name_what_is_missing() {
    let axes = axes();
    let mut pool = Exprs::new();
    let x = pool.reference(Symbol(0), [Index::Var(0)]);
    let erf = pool.apply(Func::Erf, x);
    let entry = pool.table(Id::new(0), [Index::Var(0), Index::At(0)]);
    let beyond = pool.sum_exact(&[(Index::Var(1), Id::new(7))], [], x);
    let tables = tables();
    let setting = Setting { axes: &axes, tables: &tables, ..Setting::new(&pool, &Std) };
    let error = |e: ExprId, environment: &[Index]| Tape::<f64>::compile(&setting, &[(e, environment)]).unwrap_err();
    assert_eq!(error(x, &[]), TapeError::MissingVariable(Index::Var(0)));
    assert_eq!(error(erf, &[Index::At(0)]), TapeError::UnknownFunction { name: "erf", arguments: 1 });
    assert_eq!(error(entry, &[Index::Var(0)]), TapeError::OpenVariable(Index::Var(0)));
    assert_eq!(error(entry, &[Index::At(3)]), TapeError::NoEntry { table: 0, positions: vec![3, 0] });
    assert_eq!(error(beyond, &[Index::At(0)]), TapeError::NoAxis { axis: 7, found: 3 });

    // Left open, the variable shows in the leaf.
    let tape = Tape::<f64>::compile(&setting, &[(x, &[Index::Var(5)])]).unwrap();
    assert_eq!(tape.inputs()[0].1[0], Index::Var(5));

    // 200 nested sums.
    let mut deep = x;
    for _ in 0..200 {
        deep = pool.sum_exact(&[(Index::Var(9), Id::new(0))], [Guard::equal(Index::Var(9), Index::At(0))], deep);
    }
    let setting = Setting { axes: &axes, ..Setting::new(&pool, &Std) };
    let deep = Tape::<f64>::compile(&setting, &[(deep, &[Index::At(0)])]).unwrap_err();
    assert_eq!(deep, TapeError::TooDeep { limit: 128 });
}
