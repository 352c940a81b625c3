//! Check-points: everything that a training run needs to go on, bit for bit, as bytes.
//!
//! The bytes are a line of JSON, which says what follows, then the numbers as little-endian floats in the precision of
//! the run, then a checksum. Where they are kept is the caller's business; see `netsor train`.

use serde::{Deserialize, Serialize};

use crate::{FiniteError, Float, Trainer};

const MAGIC: &[u8] = b"netsor check-point 1\n";

/// What a check-point says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    /// What must be the same for the run to go on.
    run: String,
    bits: usize,
    steps: usize,
    /// Names of the trained parameters, numbers of their entries, and how often each is stored: itself and what the
    /// optimiser remembers.
    parameters: Vec<(String, usize, usize)>,
}

impl<T: Float> Trainer<T> {
    /// The present state of training: parameters, what the optimiser remembers, and the number of steps. `note` is what
    /// the caller wants back, or wants to be the same, when the run goes on.
    ///
    /// # Errors
    /// If a parameter is not finite: a run that has diverged has no check-point.
    pub fn checkpoint(&mut self, note: &str) -> Result<Vec<u8>, FiniteError> {
        self.check_parameters()?;
        let trained: Vec<_> = self.trained().collect();
        let copies = 1 + self.optimizer().moments();
        let name = |t: &netsor_ir::ValueId| self.network().program.value(*t).name.clone();
        let parameters = trained.iter().map(|t| (name(t), self.len_of(*t), copies)).collect();
        let header = Header { run: self.identity(note), bits: 8 * T::BYTES, steps: self.steps(), parameters };
        let header = serde_json::to_string(&header).map_err(|e| FiniteError::Checkpoint { problem: e.to_string() })?;
        let mut bytes = [MAGIC, header.as_bytes(), b"\n"].concat();
        for value in trained {
            if let Some(block) = self.state().block(value) {
                block.data.iter().for_each(|x| x.write(&mut bytes));
            }
            for moment in self.moments(value).into_iter().flatten() {
                moment.iter().for_each(|x| x.write(&mut bytes));
            }
        }
        let sum = checksum(&bytes);
        bytes.extend(sum.to_le_bytes());
        Ok(bytes)
    }

    /// Puts a trainer that was set up in the same way where it was when the check-point was made.
    ///
    /// # Errors
    /// If the bytes are damaged, or belong to another run: another network, width, seed, precision, optimiser or note.
    pub fn restore(&mut self, bytes: &[u8], note: &str) -> Result<(), FiniteError> {
        let fail = |problem: &str| FiniteError::Checkpoint { problem: problem.to_owned() };
        let (body, sum) = bytes.split_last_chunk::<8>().ok_or_else(|| fail("it is too short"))?;
        let rest = body.strip_prefix(MAGIC).ok_or_else(|| fail("it is no check-point of this version"))?;
        if checksum(body) != u64::from_le_bytes(*sum) {
            return Err(fail("it is damaged: the checksum is wrong"));
        }
        let end = rest.iter().position(|b| *b == b'\n').ok_or_else(|| fail("it has no header"))?;
        let header: Header = serde_json::from_slice(&rest[..end]).map_err(|e| fail(&e.to_string()))?;
        if header.run != self.identity(note) {
            let problem = format!("it belongs to another run, {}; this one is {}", header.run, self.identity(note));
            return Err(FiniteError::Checkpoint { problem });
        }
        let trained: Vec<_> = self.trained().collect();
        let copies = 1 + self.optimizer().moments();
        let own = trained.iter().map(|t| (self.network().program.value(*t).name.clone(), self.len_of(*t), copies));
        let own: Vec<_> = own.collect();
        if header.bits != 8 * T::BYTES || header.parameters != own {
            return Err(fail("its parameters are not those of this network in this precision"));
        }
        let mut numbers = rest[end + 1..].chunks_exact(T::BYTES).map(T::read);
        if numbers.len() != own.iter().map(|(_, len, copies)| len * copies).sum::<usize>() {
            return Err(fail("it has too few or too many numbers"));
        }
        for (value, (_, len, _)) in trained.into_iter().zip(&own) {
            if let Some(block) = self.state().blocks[value.index()].as_mut() {
                block.data.iter_mut().zip(numbers.by_ref().take(*len)).for_each(|(x, number)| *x = number);
            }
            for moment in self.moments(value).into_iter().flatten() {
                moment.iter_mut().zip(numbers.by_ref().take(*len)).for_each(|(x, number)| *x = number);
            }
        }
        self.set_steps(header.steps);
        self.forget_computed();
        Ok(())
    }

    /// What two runs have in common when one can go on where the other stopped.
    fn identity(&self, note: &str) -> String {
        let options = self.options();
        let name = &self.network().program.name;
        let (width, seed, optimizer) = (options.width, options.seed, self.optimizer());
        format!("{name} ({:016x}) at n = {width}, seed {seed}, {optimizer:?}; {note}", self.fingerprint)
    }
}

/// FNV-1a over words of eight bytes.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    let step = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
    let (words, rest) = bytes.as_chunks::<8>();
    let hash = words.iter().fold(0xcbf2_9ce4_8422_2325, |hash, word| step(hash, u64::from_le_bytes(*word)));
    rest.iter().fold(step(hash, bytes.len() as u64), |hash, byte| step(hash, u64::from(*byte)))
}
