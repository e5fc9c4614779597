//! The losses of connections, told in full where there is room.

/// Losses of each kind that are told in full, of each scenario.
const TOLD: usize = 3;

/// What became of a connection, or of what was sent on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LossKind {
    /// A message has no whole answer.
    Lost,
    /// Nothing but the connection itself was lost.
    Reset,
    /// Nobody listened.
    Refused,
    /// There was no end.
    Hung,
}

impl LossKind {
    const ALL: [LossKind; 4] = [
        LossKind::Lost,
        LossKind::Reset,
        LossKind::Refused,
        LossKind::Hung,
    ];

    /// Returns what is said of connections that are counted, and not told of.
    fn of_others(self) -> &'static str {
        match self {
            LossKind::Lost => "with a lost message",
            LossKind::Reset => "with a reset",
            LossKind::Refused => "that were refused",
            LossKind::Hung => "without an end",
        }
    }
}

/// Losses of a kind: the stories of the first ones, and the number of all.
#[derive(Clone, Debug, Default)]
struct OfKind {
    told: Vec<String>,
    count: usize,
}

/// The losses of a round, or of a scenario.
#[derive(Clone, Debug, Default)]
pub(crate) struct Losses([OfKind; LossKind::ALL.len()]);

impl Losses {
    /// Adds a loss, told in full if there is still room.
    pub(crate) fn add(&mut self, kind: LossKind, story: String) {
        let of_kind = &mut self.0[kind as usize];
        of_kind.count += 1;
        if of_kind.told.len() < TOLD {
            of_kind.told.push(story);
        }
    }

    /// Adds those of another round.
    pub(crate) fn append(&mut self, others: Losses) {
        for (own, other) in self.0.iter_mut().zip(others.0) {
            own.count += other.count;
            let room = TOLD.saturating_sub(own.told.len());
            own.told.extend(other.told.into_iter().take(room));
        }
    }

    /// Returns the stories of the first ones of each kind.
    pub(crate) fn told(&self) -> impl Iterator<Item = &String> {
        self.0.iter().flat_map(|of_kind| &of_kind.told)
    }

    /// Returns the same, with the numbers of those that are not told.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (kind, of_kind) in LossKind::ALL.into_iter().zip(&self.0) {
            lines.extend(of_kind.told.iter().cloned());
            let others = of_kind.count - of_kind.told.len();
            let word = if others == 1 {
                "connection"
            } else {
                "connections"
            };
            if others > 0 {
                lines.push(format!("and {others} more {word} {}", kind.of_others()));
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn losses(kind: LossKind, count: usize) -> Losses {
        let mut losses = Losses::default();
        (0..count).for_each(|n| losses.add(kind, format!("{kind:?} {n}")));
        losses
    }

    #[test]
    fn each_kind_is_told_with_the_number_of_the_others() {
        let mut all = losses(LossKind::Hung, 100);
        all.append(losses(LossKind::Lost, 4));
        all.append(losses(LossKind::Reset, 1));
        assert_eq!(
            all.lines(),
            [
                "Lost 0",
                "Lost 1",
                "Lost 2",
                "and 1 more connection with a lost message",
                "Reset 0",
                "Hung 0",
                "Hung 1",
                "Hung 2",
                "and 97 more connections without an end",
            ]
        );
        assert_eq!(all.told().count(), 7);
    }

    #[test]
    fn the_rounds_of_a_scenario_share_the_room() {
        let mut all = losses(LossKind::Hung, 2);
        all.append(losses(LossKind::Hung, 2));
        let last = all.lines().pop();
        assert_eq!(
            last.as_deref(),
            Some("and 1 more connection without an end")
        );
        assert_eq!(all.told().count(), 3);
    }
}
