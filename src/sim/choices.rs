//! The source of chance: a seed, or a list of choices made before.
//!
//! Everything that is left to chance in a simulation is asked for here, one
//! small number after the other. So the list of numbers is the run: given again
//! it replays the run, a shorter list or smaller numbers make a simpler run, and
//! a fuzzer can write it.

/// The source of all chance in one simulation.
#[derive(Clone, Debug)]
pub(crate) struct Choices {
    given: Vec<u32>,
    /// The state of the generator that goes on after the given choices; without
    /// it they are followed by the simplest.
    state: Option<u64>,
    made: Vec<u32>,
}

impl Choices {
    pub(crate) fn from_seed(seed: u64) -> Choices {
        Choices {
            given: Vec::new(),
            state: Some(seed),
            made: Vec::new(),
        }
    }

    pub(crate) fn given(given: Vec<u32>) -> Choices {
        Choices {
            given,
            state: None,
            made: Vec::new(),
        }
    }

    /// Returns a number below `bound`; 0 is always the simplest.
    pub(crate) fn choose(&mut self, bound: u32) -> u32 {
        if bound <= 1 {
            return 0;
        }
        let chosen = match (self.given.get(self.made.len()), &mut self.state) {
            (Some(given), _) => given % bound,
            (None, Some(state)) => scale(next(state), bound),
            (None, None) => 0,
        };
        self.made.push(chosen);
        chosen
    }

    /// Returns all choices so far, without the simplest ones at the end.
    pub(crate) fn into_made(mut self) -> Vec<u32> {
        while self.made.last() == Some(&0) {
            self.made.pop();
        }
        self.made
    }
}

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): a seed means the same on
/// every machine and in every version.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn scale(random: u64, bound: u32) -> u32 {
    (((random >> 32) * u64::from(bound)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_choices_on_every_machine() {
        let mut choices = Choices::from_seed(1);
        let first: Vec<u32> = (0..5).map(|_| choices.choose(1000)).collect();
        assert_eq!(first, [566, 745, 971, 444, 444]);
    }

    #[test]
    fn given_choices_are_made_again() {
        let mut choices = Choices::from_seed(7);
        let first: Vec<u32> = (1..50).map(|n| choices.choose(n)).collect();
        let mut again = Choices::given(choices.into_made());
        let second: Vec<u32> = (1..50).map(|n| again.choose(n)).collect();
        assert_eq!(first, second);
    }

    #[test]
    fn given_choices_are_followed_by_the_simplest() {
        let mut choices = Choices::given(vec![7]);
        assert_eq!([choices.choose(5), choices.choose(5)], [2, 0]);
    }
}
