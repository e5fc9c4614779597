//! The values that options take, where not every one makes sense.

use std::time::Duration;

/// The shortest time that can be asked for: a limit of less is over before anything ran.
const SHORTEST: Duration = Duration::from_millis(1);

/// The longest one: nobody waits for more.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The most rounds of a scenario.
pub(crate) const MOST_ROUNDS: u64 = 1_000_000;

/// Reads a time such as 30s.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    within(SHORTEST, text)
}

/// Reads a time that may be none at all.
pub(crate) fn time_or_zero(text: &str) -> Result<Duration, String> {
    within(Duration::ZERO, text)
}

fn within(shortest: Duration, text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    match (shortest..=LONGEST).contains(&time) {
        true => Ok(time),
        false => Err(format!(
            "a time from {} to {} is needed",
            humantime::format_duration(shortest),
            humantime::format_duration(LONGEST)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_makes_no_sense_is_refused() {
        for text in ["1ms", "2s 500ms", "1day"] {
            assert!(time(text).is_ok(), "{text}");
        }
        for text in ["0s", "1us", "1day 1s", "100000years", "5", "-1s", ""] {
            assert!(time(text).is_err(), "{text}");
        }
        let told = "a time from 1ms to 1day is needed";
        assert_eq!(time("0s"), Err(told.to_owned()));
    }

    #[test]
    fn no_time_at_all_is_one_where_it_makes_sense() {
        assert_eq!(time_or_zero("0s"), Ok(Duration::ZERO));
        let told = "a time from 0s to 1day is needed";
        assert_eq!(time_or_zero("2days"), Err(told.to_owned()));
    }
}
