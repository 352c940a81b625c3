//! From expressions to operations: expansion of sums, merging of equal operations, allocation of registers.

use num_traits::{Signed, Zero};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::{Op, Reg, Scalar, Setting, Slot, Tape, TapeError, Unary};
use crate::expr::{Expr, ExprId, Sum, Symbol, for_each_child};
use crate::func::Func;
use crate::index::{Guard, Index, Indices, Relation};
use crate::number::{Power, power_to_f64, to_f64};

/// How many variables of enclosing sums there may be; each is a level of recursion.
const DEPTH: usize = 128;

/// An operation by meaning, for merging equal ones.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Input(u32),
    Const(u64),
    Neg(Reg),
    Add(Reg, Reg),
    Sub(Reg, Reg),
    Mul(Reg, Reg),
    Div(Reg, Reg),
    Unary(Func, Reg),
    Binary(Func, Reg, Reg),
    Power(Reg, Reg),
}

/// What is known of a node before any variable has a value.
struct Facts {
    /// One more than the largest bound variable that a sum inside binds.
    height: u32,
    /// The variables on which its value depends, sorted.
    free: SmallVec<[Index; 4]>,
}

struct Compiler<'a, T> {
    setting: &'a Setting<'a, T>,
    facts: FxHashMap<ExprId, Facts>,
    ops: Vec<Op<T>>,
    /// The value of each operation that is a constant.
    constants: Vec<Option<f64>>,
    merged: FxHashMap<Key, Reg>,
    inputs: Vec<(Symbol, Indices)>,
    leaves: FxHashMap<(Symbol, Indices), u32>,
    /// The operation that computes a node for given values of its free variables.
    done: FxHashMap<(ExprId, Indices), Reg>,
    /// Assignments tried so far.
    tried: usize,
}

/// Values of the index variables.
struct Environment<'a> {
    free: &'a [Index],
    bound: Vec<Option<u32>>,
}

impl Environment<'_> {
    fn resolve(&self, index: Index) -> Result<Index, TapeError> {
        let found = match index {
            Index::At(_) => Some(index),
            Index::Var(k) => self.free.get(k as usize).copied(),
            Index::Bound(b) => self.bound.get(b as usize).copied().flatten().map(Index::At),
        };
        found.ok_or(TapeError::MissingVariable(index))
    }

    fn position(&self, index: Index) -> Result<u32, TapeError> {
        match self.resolve(index)? {
            Index::At(position) => Ok(position),
            open => Err(TapeError::OpenVariable(open)),
        }
    }

    fn set(&mut self, variable: u32, value: Option<u32>) {
        let at = variable as usize;
        if self.bound.len() <= at {
            self.bound.resize(at + 1, None);
        }
        self.bound[at] = value;
    }
}

pub(super) fn compile<T: Scalar>(setting: &Setting<'_, T>, roots: &[(ExprId, &[Index])]) -> Result<Tape<T>, TapeError> {
    let mut compiler = Compiler {
        setting,
        facts: FxHashMap::default(),
        ops: Vec::new(),
        constants: Vec::new(),
        merged: FxHashMap::default(),
        inputs: Vec::new(),
        leaves: FxHashMap::default(),
        done: FxHashMap::default(),
        tried: 0,
    };
    let mut regs = Vec::with_capacity(roots.len());
    for &(root, environment) in roots {
        compiler.learn(root);
        let mut environment = Environment { free: environment, bound: Vec::new() };
        regs.push(compiler.value(root, &mut environment, 0)?);
    }
    let Compiler { ops, inputs, .. } = compiler;
    Ok(allocate(&ops, &inputs, &regs))
}

impl<T: Scalar> Compiler<'_, T> {
    /// Fills in the facts of a term.
    fn learn(&mut self, root: ExprId) {
        let exprs = self.setting.exprs;
        let mut stack = vec![root];
        while let Some(&id) = stack.last() {
            if self.facts.contains_key(&id) {
                stack.pop();
                continue;
            }
            let before = stack.len();
            for_each_child(exprs.node(id), |child| {
                if !self.facts.contains_key(&child) {
                    stack.push(child);
                }
            });
            if stack.len() == before {
                let facts = self.facts_of(exprs.node(id));
                self.facts.insert(id, facts);
                stack.pop();
            }
        }
    }

    fn facts_of(&self, node: &Expr) -> Facts {
        let mut height = 0;
        let mut free: SmallVec<[Index; 4]> = SmallVec::new();
        for_each_child(node, |child| {
            let facts = &self.facts[&child];
            height = height.max(facts.height);
            free.extend(facts.free.iter().copied());
        });
        match node {
            Expr::Ref(_, indices) | Expr::Table(_, indices) => free.extend(indices.iter().copied()),
            Expr::Sum(sum) => {
                let base = height;
                height += sum.axes.len() as u32;
                free.extend(sum.guards.iter().flat_map(|g| g.terms().iter().map(|&(_, i)| i)));
                free.retain(|i| !matches!(*i, Index::Bound(b) if (base..height).contains(&b)));
            }
            _ => {}
        }
        free.retain(|i| !matches!(i, Index::At(_)));
        free.sort_unstable();
        free.dedup();
        Facts { height, free }
    }

    fn key(&self, id: ExprId, environment: &Environment<'_>) -> Result<(ExprId, Indices), TapeError> {
        let values = self.facts[&id].free.iter().map(|&i| environment.resolve(i)).collect::<Result<_, _>>()?;
        Ok((id, values))
    }

    /// The operation that computes `root`. Recursive in sums only.
    fn value(&mut self, root: ExprId, environment: &mut Environment<'_>, depth: usize) -> Result<Reg, TapeError> {
        if DEPTH < depth {
            return Err(TapeError::TooDeep { limit: DEPTH });
        }
        let exprs = self.setting.exprs;
        let mut stack = vec![root];
        while let Some(&id) = stack.last() {
            let key = self.key(id, environment)?;
            if self.done.contains_key(&key) {
                stack.pop();
                continue;
            }
            let node = exprs.node(id);
            let before = stack.len();
            if !matches!(node, Expr::Sum(_)) {
                let mut missing = None;
                for_each_child(node, |child| match self.key(child, environment) {
                    Ok(key) if self.done.contains_key(&key) => {}
                    Ok(_) => stack.push(child),
                    Err(error) => missing = Some(error),
                });
                if let Some(error) = missing {
                    return Err(error);
                }
            }
            if stack.len() == before {
                let reg = match node {
                    Expr::Sum(sum) => self.sum(sum, environment, depth)?,
                    _ => self.node(node, environment)?,
                };
                self.done.insert(key, reg);
                stack.pop();
            } else {
                // The first operand is computed first.
                stack[before..].reverse();
            }
        }
        Ok(self.done[&self.key(root, environment)?])
    }

    /// The operation for a node whose children are done.
    fn node(&mut self, node: &Expr, environment: &Environment<'_>) -> Result<Reg, TapeError> {
        let child = |id: ExprId| -> Result<Reg, TapeError> { Ok(self.done[&self.key(id, environment)?]) };
        match node {
            Expr::Const(value) => self.constant(to_f64(value)),
            Expr::Pi => self.constant(std::f64::consts::PI),
            Expr::Width(p) => {
                let n = self.constant(self.setting.width)?;
                self.power(n, *p)
            }
            Expr::Ref(symbol, indices) => {
                let indices: Indices = indices.iter().map(|&i| environment.resolve(i)).collect::<Result<_, _>>()?;
                let next = self.inputs.len() as u32;
                let number = *self.leaves.entry((*symbol, indices.clone())).or_insert(next);
                if number == next {
                    self.inputs.push((*symbol, indices));
                }
                self.emit(Key::Input(number), Op::Input(number))
            }
            Expr::Table(table, indices) => {
                let positions: Vec<u32> = indices.iter().map(|&i| environment.position(i)).collect::<Result<_, _>>()?;
                let entry = self.entry(table.index(), &positions);
                let entry = entry.ok_or_else(|| TapeError::NoEntry { table: table.index(), positions })?;
                self.constant(entry)
            }
            Expr::Neg(a) => {
                let a = child(*a)?;
                match self.constants[a as usize] {
                    Some(x) => self.constant(-x),
                    None => self.emit(Key::Neg(a), Op::Neg(a)),
                }
            }
            Expr::Add(a, b) => {
                let (a, b) = (child(*a)?, child(*b)?);
                self.add(a, b)
            }
            Expr::Sub(a, b) => {
                let (a, b) = (child(*a)?, child(*b)?);
                match (self.constants[a as usize], self.constants[b as usize]) {
                    (Some(x), Some(y)) => self.constant(x - y),
                    (_, Some(0.0)) => Ok(a),
                    _ => self.emit(Key::Sub(a, b), Op::Sub(a, b)),
                }
            }
            Expr::Mul(a, b) => {
                let (a, b) = (child(*a)?, child(*b)?);
                self.mul(a, b)
            }
            Expr::Div(a, b) => {
                let (a, b) = (child(*a)?, child(*b)?);
                self.div(a, b)
            }
            Expr::Pow(a, p) => {
                let a = child(*a)?;
                self.power(a, *p)
            }
            Expr::Apply(func, args) => {
                let unknown = TapeError::UnknownFunction { name: func.name(), arguments: args.len() };
                match args[..] {
                    [a] => {
                        let a = child(a)?;
                        self.unary(*func, a)
                    }
                    [a, b] => {
                        let (a, b) = (child(a)?, child(b)?);
                        let f = self.setting.functions.binary(func.name()).ok_or(unknown)?;
                        self.emit(Key::Binary(*func, a, b), Op::Binary(f, a, b))
                    }
                    _ => Err(unknown),
                }
            }
            // `value` handles sums.
            Expr::Sum(_) => self.constant(0.0),
        }
    }

    fn entry(&self, table: usize, positions: &[u32]) -> Option<f64> {
        let table = self.setting.tables.get(table)?;
        if table.axes.len() != positions.len() {
            return None;
        }
        let mut at = 0usize;
        for (axis, &position) in table.axes.iter().zip(positions) {
            let size = self.setting.axes.get(axis.index())?.size;
            if size <= position {
                return None;
            }
            at = at.checked_mul(size as usize)?.checked_add(position as usize)?;
        }
        table.entries.get(at).map(to_f64)
    }

    fn emit(&mut self, key: Key, op: Op<T>) -> Result<Reg, TapeError> {
        if let Some(&reg) = self.merged.get(&key) {
            return Ok(reg);
        }
        let limit = self.setting.limit.min(u32::MAX as usize);
        if limit <= self.ops.len() {
            return Err(TapeError::TooLarge { limit });
        }
        let reg = self.ops.len() as Reg;
        self.ops.push(op);
        self.constants.push(match key {
            Key::Const(bits) => Some(f64::from_bits(bits)),
            _ => None,
        });
        self.merged.insert(key, reg);
        Ok(reg)
    }

    fn constant(&mut self, value: f64) -> Result<Reg, TapeError> {
        self.emit(Key::Const(value.to_bits()), Op::Const(T::from_f64(value)))
    }

    fn add(&mut self, a: Reg, b: Reg) -> Result<Reg, TapeError> {
        match (self.constants[a as usize], self.constants[b as usize]) {
            (Some(x), Some(y)) => self.constant(x + y),
            (Some(0.0), _) => Ok(b),
            (_, Some(0.0)) => Ok(a),
            _ => self.emit(Key::Add(a, b), Op::Add(a, b)),
        }
    }

    /// Products with an exact zero are zero, as everywhere in the language.
    fn mul(&mut self, a: Reg, b: Reg) -> Result<Reg, TapeError> {
        match (self.constants[a as usize], self.constants[b as usize]) {
            (Some(0.0), _) | (_, Some(0.0)) => self.constant(0.0),
            (Some(x), Some(y)) => self.constant(x * y),
            (Some(1.0), _) => Ok(b),
            (_, Some(1.0)) => Ok(a),
            _ => self.emit(Key::Mul(a, b), Op::Mul(a, b)),
        }
    }

    fn div(&mut self, a: Reg, b: Reg) -> Result<Reg, TapeError> {
        match (self.constants[a as usize], self.constants[b as usize]) {
            (Some(x), Some(y)) => self.constant(x / y),
            (_, Some(1.0)) => Ok(a),
            _ => self.emit(Key::Div(a, b), Op::Div(a, b)),
        }
    }

    fn unary(&mut self, func: Func, a: Reg) -> Result<Reg, TapeError> {
        let unknown = TapeError::UnknownFunction { name: func.name(), arguments: 1 };
        let one = self.setting.functions.unary(func.name()).ok_or(unknown)?;
        let many = self.setting.functions.unary_slice(func.name());
        self.emit(Key::Unary(func, a), Op::Unary(Unary { one, many }, a))
    }

    /// `a^p`: products for integers, one square root for halves of integers, the caller's function otherwise.
    fn power(&mut self, a: Reg, p: Power) -> Result<Reg, TapeError> {
        if p.is_zero() {
            return self.constant(1.0);
        }
        if *p.denom() != 1 && *p.denom() != 2 {
            let exponent = self.constant(power_to_f64(p))?;
            let f = self.setting.functions.power();
            return self.emit(Key::Power(a, exponent), Op::Binary(f, a, exponent));
        }
        let half = *p.denom() == 2;
        // For an odd numerator k, |k| / 2 rounds down and the square root makes up for it.
        let mut left = p.numer().unsigned_abs() / if half { 2 } else { 1 };
        let mut result = if half { Some(self.unary(Func::Sqrt, a)?) } else { None };
        let mut square = a;
        while 0 < left {
            if left & 1 == 1 {
                result = Some(match result {
                    Some(r) => self.mul(r, square)?,
                    None => square,
                });
            }
            left >>= 1;
            if 0 < left {
                square = self.mul(square, square)?;
            }
        }
        let one = self.constant(1.0)?;
        let result = result.unwrap_or(one);
        if p.is_negative() { self.div(one, result) } else { Ok(result) }
    }

    fn sum(&mut self, sum: &Sum, environment: &mut Environment<'_>, depth: usize) -> Result<Reg, TapeError> {
        let base = self.facts[&sum.body].height;
        let found = self.setting.axes.len();
        let size = |axis: usize| self.setting.axes.get(axis).map(|a| a.size).ok_or(TapeError::NoAxis { axis, found });
        let sizes: Vec<u32> = sum.axes.iter().map(|axis| size(axis.index())).collect::<Result<_, _>>()?;
        if DEPTH < depth + sizes.len() {
            return Err(TapeError::TooDeep { limit: DEPTH });
        }
        let mut state = Expansion { sum, base, sizes, depth, total: None };
        self.expand(&mut state, environment)?;
        match state.total {
            Some(reg) => Ok(reg),
            None => self.constant(0.0),
        }
    }

    /// Assigns the remaining variables in all ways that the guards admit and adds up the bodies.
    fn expand(&mut self, state: &mut Expansion<'_>, environment: &mut Environment<'_>) -> Result<(), TapeError> {
        let Some((variable, mut range)) = state.next(environment)? else {
            if state.sizes.is_empty() && !state.guards_hold(environment)? {
                return Ok(());
            }
            let depth = state.depth + state.sizes.len().max(1);
            let term = self.value(state.sum.body, environment, depth)?;
            state.total = Some(match state.total {
                Some(total) => self.add(total, term)?,
                None => term,
            });
            return Ok(());
        };
        let result = range.try_for_each(|position| {
            self.tried += 1;
            if self.setting.limit < self.tried {
                return Err(TapeError::TooLarge { limit: self.setting.limit });
            }
            environment.set(variable, Some(position));
            if state.guards_hold(environment)? { self.expand(state, environment) } else { Ok(()) }
        });
        environment.set(variable, None);
        result
    }
}

/// A sum during its expansion.
struct Expansion<'a> {
    sum: &'a Sum,
    base: u32,
    sizes: Vec<u32>,
    depth: usize,
    total: Option<Reg>,
}

impl Expansion<'_> {
    /// The next variable to assign and the positions that guards leave to it: a variable that an equation determines,
    /// or else the first.
    fn next(&self, environment: &Environment<'_>) -> Result<Option<(u32, std::ops::Range<u32>)>, TapeError> {
        let open = |k: &usize| environment.bound.get(self.base as usize + k).copied().flatten().is_none();
        let mut first = None;
        for k in (0..self.sizes.len()).filter(open) {
            let variable = self.base + k as u32;
            let (mut low, mut high, mut solved) = (0i128, i128::from(self.sizes[k]), false);
            for guard in &self.sum.guards {
                let Some((c, rest)) = self.only(guard, variable, environment)? else { continue };
                match guard.relation() {
                    Relation::Eq => {
                        let root = -rest / c;
                        solved = true;
                        low = low.max(root);
                        high = if -rest == root * c { high.min(root + 1) } else { low };
                    }
                    Relation::Le if 0 < c => high = high.min((-rest).div_euclid(c) + 1),
                    Relation::Le => low = low.max(-(-rest).div_euclid(-c)),
                    Relation::EqMod(_) => {}
                }
            }
            let range = if low < high { low as u32..high as u32 } else { 0..0 };
            if solved || range.is_empty() {
                return Ok(Some((variable, range)));
            }
            if first.is_none() {
                first = Some((variable, range));
            }
        }
        Ok(first)
    }

    /// If `variable` is the only one of the guard that has no value: its coefficient, and the value of the rest.
    fn only(
        &self,
        guard: &Guard,
        variable: u32,
        environment: &Environment<'_>,
    ) -> Result<Option<(i128, i128)>, TapeError> {
        let mut rest = i128::from(guard.constant());
        let mut own = None;
        for &(c, index) in guard.terms() {
            if index == Index::Bound(variable) {
                own = Some(i128::from(c));
            } else if self.unassigned(index, environment) {
                return Ok(None);
            } else {
                rest += i128::from(c) * i128::from(environment.position(index)?);
            }
        }
        Ok(own.map(|c| (c, rest)))
    }

    /// Whether `index` is a variable of this sum without a value.
    fn unassigned(&self, index: Index, environment: &Environment<'_>) -> bool {
        let Index::Bound(b) = index else { return false };
        (self.base..self.base + self.sizes.len() as u32).contains(&b)
            && environment.bound.get(b as usize).copied().flatten().is_none()
    }

    /// Whether no guard is violated; a guard with variables that have no value is not.
    fn guards_hold(&self, environment: &Environment<'_>) -> Result<bool, TapeError> {
        for guard in &self.sum.guards {
            if guard.terms().iter().any(|&(_, index)| self.unassigned(index, environment)) {
                continue;
            }
            let mut left = i128::from(guard.constant());
            for &(c, index) in guard.terms() {
                left += i128::from(c) * i128::from(environment.position(index)?);
            }
            let holds = match guard.relation() {
                Relation::Eq => left == 0,
                Relation::Le => left <= 0,
                Relation::EqMod(modulus) => modulus != 0 && left.rem_euclid(i128::from(modulus)) == 0,
            };
            if !holds {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Drops operations that no root needs and gives the others registers, reusing one after its last reader.
fn allocate<T: Scalar>(ops: &[Op<T>], inputs: &[(Symbol, Indices)], roots: &[Reg]) -> Tape<T> {
    let mut last: Vec<Option<usize>> = vec![None; ops.len()];
    for &root in roots {
        last[root as usize] = Some(root as usize);
    }
    for (at, op) in ops.iter().enumerate().rev() {
        if last[at].is_some() {
            let (a, b) = op.operands();
            for operand in [a, b].into_iter().flatten() {
                let reader = &mut last[operand as usize];
                *reader = Some(reader.map_or(at, |r| r.max(at)));
            }
        }
    }
    // How many roots an operation is, and the last of them.
    let mut root_of: Vec<(u32, u32)> = vec![(0, 0); ops.len()];
    for (k, &root) in roots.iter().enumerate() {
        let (count, _) = root_of[root as usize];
        root_of[root as usize] = (count + 1, k as u32);
    }
    let mut new_reg: Vec<Reg> = vec![0; ops.len()];
    let mut kept: Vec<Op<T>> = Vec::new();
    let mut slots: Vec<Slot> = Vec::new();
    let mut new_inputs: Vec<(Symbol, Indices)> = Vec::new();
    let (mut free, mut n_slots): (Vec<u32>, u32) = (Vec::new(), 0);
    for (at, op) in ops.iter().enumerate() {
        if last[at].is_none() {
            continue;
        }
        let reg = |old: Reg| new_reg[old as usize];
        let op = match *op {
            Op::Input(k) => {
                new_inputs.push(inputs[k as usize].clone());
                Op::Input(new_inputs.len() as u32 - 1)
            }
            Op::Const(value) => Op::Const(value),
            Op::Neg(a) => Op::Neg(reg(a)),
            Op::Add(a, b) => Op::Add(reg(a), reg(b)),
            Op::Sub(a, b) => Op::Sub(reg(a), reg(b)),
            Op::Mul(a, b) => Op::Mul(reg(a), reg(b)),
            Op::Div(a, b) => Op::Div(reg(a), reg(b)),
            Op::Unary(f, a) => Op::Unary(f, reg(a)),
            Op::Binary(f, a, b) => Op::Binary(f, reg(a), reg(b)),
        };
        // The target is taken before operands are given back: an operation never writes what it reads.
        let slot = match op {
            Op::Input(_) | Op::Const(_) => Slot::None,
            // Nobody reads it: it goes where it is wanted.
            _ if last[at] == Some(at) && root_of[at].0 == 1 => Slot::Root(root_of[at].1),
            _ => Slot::Register(free.pop().unwrap_or_else(|| {
                n_slots += 1;
                n_slots - 1
            })),
        };
        let (a, b) = ops[at].operands();
        let b = b.filter(|_| a != b);
        for old in [a, b].into_iter().flatten() {
            if last[old as usize] == Some(at)
                && let Slot::Register(register) = slots[new_reg[old as usize] as usize]
            {
                free.push(register);
            }
        }
        if last[at] == Some(at)
            && let Slot::Register(register) = slot
        {
            // Several roots that nobody reads are stored at once.
            free.push(register);
        }
        new_reg[at] = kept.len() as Reg;
        kept.push(op);
        slots.push(slot);
    }
    let roots: Vec<Reg> = roots.iter().map(|&r| new_reg[r as usize]).collect();
    let copied = |reg: Reg| !matches!(slots[reg as usize], Slot::Root(_));
    let all = roots.iter().enumerate().map(|(k, &reg)| (reg, k as u32));
    let mut stores: Vec<(Reg, u32)> = all.filter(|&(reg, _)| copied(reg)).collect();
    stores.sort_unstable();
    Tape { ops: kept, slots, n_slots: n_slots as usize, inputs: new_inputs, roots, stores }
}
