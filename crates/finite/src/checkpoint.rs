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
        let (header, _) = read(bytes)?;
        if header.run != self.identity(note) {
            let problem = format!("it belongs to another run, {}; this one is {}", header.run, self.identity(note));
            return Err(FiniteError::Checkpoint { problem });
        }
        self.take(bytes, true)
    }

    /// Takes the parameters and the number of steps from a check-point of any run with parameters of these names and
    /// sizes, for instance on other data, to look at the network that was trained. The optimiser starts anew.
    ///
    /// # Errors
    /// If the bytes are damaged, or the parameters are others.
    pub fn restore_parameters(&mut self, bytes: &[u8]) -> Result<(), FiniteError> {
        self.take(bytes, false)
    }

    /// Takes what a check-point has; without the optimiser's memory if another optimiser may have made it.
    fn take(&mut self, bytes: &[u8], with_memory: bool) -> Result<(), FiniteError> {
        let (header, numbers) = read(bytes)?;
        let fail = |problem: String| FiniteError::Checkpoint { problem };
        if header.bits != 8 * T::BYTES {
            return Err(fail(format!("it has numbers of {} bits, this network of {}", header.bits, 8 * T::BYTES)));
        }
        let trained: Vec<_> = self.trained().collect();
        let own = trained.iter().map(|t| (self.network().program.value(*t).name.as_str(), self.len_of(*t)));
        if !own.eq(header.parameters.iter().map(|(name, len, _)| (name.as_str(), *len))) {
            let list = |all: &mut dyn Iterator<Item = (String, usize)>| {
                all.map(|(name, len)| format!("{name} ({len})")).collect::<Vec<_>>().join(", ")
            };
            let found = list(&mut header.parameters.iter().map(|(name, len, _)| (name.clone(), *len)));
            let name = |t: &netsor_ir::ValueId| (self.network().program.value(*t).name.clone(), self.len_of(*t));
            let expected = list(&mut trained.iter().map(name));
            return Err(fail(format!("its parameters are {found}; those of this network at its width are {expected}")));
        }
        let copies = 1 + self.optimizer().moments();
        let fits = |(_, len, stored): &(String, usize, usize)| {
            if with_memory { *stored == copies } else { 0 < *stored && 0 < *len }
        };
        let wrong = || fail("it has too few or too many numbers".to_owned());
        let total: usize = header.parameters.iter().map(|(_, len, stored)| len.saturating_mul(*stored)).sum();
        if !header.parameters.iter().all(fits) || numbers.len() != total.saturating_mul(T::BYTES) {
            return Err(wrong());
        }
        let mut numbers = numbers.chunks_exact(T::BYTES).map(T::read);
        for (value, (_, len, stored)) in trained.into_iter().zip(&header.parameters) {
            if let Some(block) = self.state().blocks[value.index()].as_mut() {
                block.data.iter_mut().zip(numbers.by_ref().take(*len)).for_each(|(x, number)| *x = number);
            }
            if with_memory {
                for moment in self.moments(value).into_iter().flatten() {
                    moment.iter_mut().zip(numbers.by_ref().take(*len)).for_each(|(x, number)| *x = number);
                }
            } else {
                numbers.by_ref().take(len * (stored - 1)).for_each(drop);
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

/// The header of a check-point, and the bytes of its numbers.
fn read(bytes: &[u8]) -> Result<(Header, &[u8]), FiniteError> {
    let fail = |problem: &str| FiniteError::Checkpoint { problem: problem.to_owned() };
    let (body, sum) = bytes.split_last_chunk::<8>().ok_or_else(|| fail("it is too short"))?;
    let rest = body.strip_prefix(MAGIC).ok_or_else(|| fail("it is no check-point of this version"))?;
    if checksum(body) != u64::from_le_bytes(*sum) {
        return Err(fail("it is damaged: the checksum is wrong"));
    }
    let end = rest.iter().position(|b| *b == b'\n').ok_or_else(|| fail("it has no header"))?;
    let header: Header = serde_json::from_slice(&rest[..end]).map_err(|e| fail(&e.to_string()))?;
    Ok((header, &rest[end + 1..]))
}

/// FNV-1a over words of eight bytes.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    let step = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
    let (words, rest) = bytes.as_chunks::<8>();
    let hash = words.iter().fold(0xcbf2_9ce4_8422_2325, |hash, word| step(hash, u64::from_le_bytes(*word)));
    rest.iter().fold(step(hash, bytes.len() as u64), |hash, byte| step(hash, u64::from(*byte)))
}
