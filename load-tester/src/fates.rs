//! What became of each request: two bits each, because a soak run has hundreds of millions.
//!
//! All samples of a request share its fate, so a sample costs two bits or less.

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Not one byte of it was handed to the network.
    NeverSent = 0,
    /// Answered 2xx: its samples must be found.
    Accepted = 1,
    /// Answered anything else: its samples must not be found.
    Refused = 2,
    /// Sent, in whole or in part, and never answered, or answered with a 503 whose code is `not_settled`: its samples may be
    /// found or not.
    Unknown = 3,
}

/// The fates of one client's requests, by request number.
#[derive(Debug, Default, Clone)]
pub struct Fates {
    words: Vec<u64>,
}

const FATES_PER_WORD: usize = 32;

impl Fates {
    /// Room for `requests` without growing.
    pub fn with_room_for(requests: usize) -> Self {
        Self { words: Vec::with_capacity(requests.div_ceil(FATES_PER_WORD)) }
    }

    /// Sets the fate of a request that had none.
    pub fn set(&mut self, request: u64, fate: Fate) {
        let Ok(request) = usize::try_from(request) else { return };
        let word = request / FATES_PER_WORD;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= (fate as u64) << (request % FATES_PER_WORD * 2);
    }

    /// The fate of a request; one that was never heard of was never sent.
    pub fn get(&self, request: u64) -> Fate {
        let index = usize::try_from(request).unwrap_or(usize::MAX);
        let word = self.words.get(index / FATES_PER_WORD).copied().unwrap_or(0);
        match word >> (index % FATES_PER_WORD * 2) & 3 {
            1 => Fate::Accepted,
            2 => Fate::Refused,
            3 => Fate::Unknown,
            _ => Fate::NeverSent,
        }
    }

    /// One more than the highest request number that may have a fate.
    pub fn end(&self) -> u64 {
        (self.words.len() * FATES_PER_WORD) as u64
    }

    /// How many requests had this fate (not for [`Fate::NeverSent`], which has no end).
    pub fn count(&self, fate: Fate) -> u64 {
        (0..self.end()).filter(|request| self.get(*request) == fate).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_do_not_disturb_each_other() {
        let all = [Fate::Accepted, Fate::NeverSent, Fate::Unknown, Fate::Refused, Fate::Accepted];
        let mut fates = Fates::default();
        for request in (0..200).rev() {
            fates.set(request, all[usize::try_from(request).unwrap() % all.len()]);
        }
        for request in 0..200 {
            assert_eq!(fates.get(request), all[usize::try_from(request).unwrap() % all.len()], "{request}");
        }
        assert_eq!(fates.get(1_000_000), Fate::NeverSent);
        assert_eq!(fates.count(Fate::Accepted), 80);
        assert_eq!(fates.count(Fate::Unknown), 40);
    }
}
