//! Attention whose scores are inner products over the number of channels, which have limits.

use netsor_ir::{Axis, ExprId, Func, Guard, Id, Index, Relation, ValueId};

use super::affine::Affine;
use super::softmax::Softmax;
use super::{Compile, Compiler, Tensor};
use crate::builder::{number, own};
use crate::layers::{Attention, Layer, Scaling};

/// What a layer's scores are.
struct Scores {
    /// Keys and queries, families over inputs and positions.
    keys: ValueId,
    queries: ValueId,
    /// The factor of their inner product.
    factor: f64,
    /// Whether a position sees only itself and those before it.
    causal: bool,
    mechanism: Attention,
}

impl Compiler {
    pub(super) fn attention(&mut self, x: &Tensor, layer: &Layer) -> Compile<Tensor> {
        if x.positions.is_empty() {
            return Err(self.shape("positions", "none"));
        }
        let value = self.vectors(x)?.value;
        match *layer {
            Layer::GlobalSelfAttention { linear_scaling: false, .. } => {
                Err(self.unsupported("attention with scores over the square root of the width, which stay random"))
            }
            Layer::GlobalSelfAttention {
                w_key_std,
                w_query_std,
                w_value_std,
                w_out_std,
                b_std,
                attention_mechanism: mechanism,
                ..
            } => {
                let factor = w_key_std * w_query_std;
                let scores = Scores { keys: value, queries: value, factor, causal: false, mechanism };
                let mixed = self.attend(x, &scores)?;
                let values = self.affine(&mixed, &dense(w_value_std, None), &[])?;
                self.affine(&values, &dense(w_out_std, b_std), &[])
            }
            Layer::SelfAttention {
                correlation,
                w_key_std,
                w_query_std,
                temperature,
                causal,
                attention_mechanism: mechanism,
            } => {
                if causal && x.positions.len() != 1 {
                    let found = format!("{} axes", x.positions.len());
                    return Err(self.shape("one axis of positions for causal attention", found));
                }
                let (keys, queries, factor) = match correlation {
                    None => (value, value, w_key_std * w_query_std / temperature),
                    Some(rho) => {
                        let (keys, queries) = self.keys_and_queries(x, rho, w_key_std)?;
                        (keys, queries, w_query_std / temperature)
                    }
                };
                self.attend(x, &Scores { keys, queries, factor, causal, mechanism })
            }
            _ => Err(self.unsupported("not an attention layer")),
        }
    }

    /// `k = K x` and `q = rho k + sqrt(1 - rho^2) Q x` with independent matrices `K` and `Q`.
    fn keys_and_queries(&mut self, x: &Tensor, rho: f64, w_std: f64) -> Compile<(ValueId, ValueId)> {
        if !(-1.0..=1.0).contains(&rho) {
            return Err(self.unsupported(&format!("a correlation of {rho}; expected a number from -1 to 1")));
        }
        let keys = self.affine(x, &dense(w_std, None), &[])?;
        let block = self.vectors(&keys)?.clone();
        if rho == 1.0 {
            return Ok((block.value, block.value));
        }
        let other = self.affine(x, &dense(w_std, None), &[])?;
        let other = self.vectors(&other)?.value;
        let family = self.family(&x.positions, &[]);
        let (rest, rho) = (number("correlation", (1.0 - rho * rho).sqrt())?, number("correlation", rho)?);
        let p = &mut self.b.program;
        let (key, other) = (p.member(block.value, &own(family.len())), p.member(other, &own(family.len())));
        let (rho, rest) = (p.exprs.constant(rho), p.exprs.constant(rest));
        let (a, b) = (p.exprs.mul(rho, key), p.exprs.mul(rest, other));
        let query = p.exprs.add(a, b);
        let name = self.name("q");
        let queries = self.define(&name, &family, block.dim, query);
        Ok((block.value, queries))
    }

    /// The values, which are `x`, mixed by weights made of the scores.
    fn attend(&mut self, x: &Tensor, scores: &Scores) -> Compile<Tensor> {
        let factor = number("the factor of the scores", scores.factor)?;
        let doubled: Vec<Id<Axis>> = x.positions.iter().chain(&x.positions).copied().collect();
        let pairs = self.family(&doubled, &[]);
        let pair_names: Vec<(&str, Id<Axis>)> = pairs.iter().map(|(n, a)| (n.as_str(), *a)).collect();
        let r = x.positions.len() as u32;
        // A query at p, a key at p'.
        let first: Vec<Index> = (0..=r).map(Index::Var).collect();
        let second: Vec<Index> = [Index::Var(0)].into_iter().chain((r + 1..=2 * r).map(Index::Var)).collect();
        let (moment_name, weight_name) = (self.name("m"), self.name("w"));
        let p = &mut self.b.program;
        let (a, b) = (p.member(scores.queries, &first), p.member(scores.keys, &second));
        let product = p.exprs.mul(a, b);
        let moment = p.moment(&moment_name, &pair_names, product);
        let member = p.member(moment, &own(pairs.len()));
        let factor = p.exprs.constant(factor);
        let score = p.exprs.mul(factor, member);
        let mut weight = match scores.mechanism {
            Attention::Softmax => {
                // Softmax does not change if all scores of a query change by the same number. The score of a position with
                // itself is taken away, so that equal scores stay equal however large they are.
                let itself: Vec<Index> = first.iter().chain(&first[1..]).copied().collect();
                let itself = p.member(moment, &itself);
                let difference = p.exprs.sub(member, itself);
                let score = p.exprs.mul(factor, difference);
                let score_name = self.name("s");
                let of = self.b.program.scalar(&score_name, &pair_names, score);
                let softmax = Softmax { scores: of, positions: &x.positions, causal: scores.causal };
                let total = self.log_sum_exp(&softmax);
                let p = &mut self.b.program;
                let score = p.member(of, &own(pairs.len()));
                let log_weight = p.exprs.sub(score, total);
                p.exprs.apply(Func::Exp, log_weight)
            }
            Attention::Identity => score,
            Attention::Abs => p.exprs.apply(Func::Abs, score),
            Attention::Relu => p.exprs.apply(Func::Relu, score),
        };
        let p = &mut self.b.program;
        if scores.causal {
            let before = Guard::new(Relation::Le, [(1, second[1]), (-1, first[1])], 0);
            weight = p.exprs.sum(&[], [before], weight);
        }
        if scores.mechanism == Attention::Softmax {
            weight = self.normalised(weight, &pair_names, &x.positions);
        }
        let p = &mut self.b.program;
        let weights = p.scalar(&weight_name, &pair_names, weight);
        self.mix(x, |b, from, to| -> ExprId {
            let indices: Vec<Index> = [Index::Var(0)].iter().chain(to).chain(from).copied().collect();
            b.program.member(weights, &indices)
        })
    }
}

fn dense(w_std: f64, b_std: Option<f64>) -> Affine {
    Affine { w_std, b_std, size: None, scaling: Scaling::Ntk }
}
