//! Findings: each of them fails the check, as a lost request does.

use std::fmt;

/// The most groups of findings that are told of a scenario.
const MOST_GROUPS: usize = 10;

/// One thing that convicts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The client that saw it; none where it is about the server itself.
    client: Option<usize>,
    /// The finding. If a client made it, it begins with the kind of that client.
    text: String,
}

impl Finding {
    /// Returns what is to be said of the server itself.
    pub(crate) fn of_server(text: impl Into<String>) -> Finding {
        Finding {
            client: None,
            text: text.into(),
        }
    }

    /// Returns what a client saw.
    pub(crate) fn of_client(id: usize, kind: &str, problem: &str) -> Finding {
        Finding {
            client: Some(id),
            text: format!("({kind}): {problem}"),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.client {
            Some(client) => write!(f, "client {client} {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// Findings that differ in nothing but the number of the client.
#[derive(Clone, Debug, Default)]
pub(crate) struct Groups(Vec<(Finding, usize)>);

impl Groups {
    /// Adds a finding. One about the server itself is told once, however often it was made.
    pub(crate) fn add(&mut self, finding: Finding) {
        let mut known = self.0.iter_mut();
        if let Some((_, others)) = known.find(|(first, _)| first.text == finding.text) {
            *others += usize::from(finding.client.is_some());
        } else if self.0.len() < MOST_GROUPS {
            self.0.push((finding, 0));
        }
    }

    /// Returns a line for each group.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(first, others)| match others {
            0 => first.to_string(),
            1 => format!("{first} (and 1 more client)"),
            others => format!("{first} (and {others} more clients)"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(findings: impl IntoIterator<Item = Finding>) -> Vec<String> {
        let mut groups = Groups::default();
        findings.into_iter().for_each(|finding| groups.add(finding));
        groups.lines().collect()
    }

    #[test]
    fn findings_that_differ_only_in_the_client_are_one_line_with_a_count() {
        let seen = |id| Finding::of_client(id, "idle", "it is not an echo");
        let other = Finding::of_client(7, "idle", "status 500");
        let findings = (0..40).map(seen).chain([other]);
        assert_eq!(
            lines(findings),
            [
                "client 0 (idle): it is not an echo (and 39 more clients)",
                "client 7 (idle): status 500"
            ]
        );
        assert_eq!(
            lines([seen(3), seen(5)]),
            ["client 3 (idle): it is not an echo (and 1 more client)"]
        );
    }

    #[test]
    fn a_finding_about_the_server_is_told_once() {
        assert_eq!(
            lines([(); 2].map(|()| Finding::of_server("it spins"))),
            ["it spins"]
        );
        let many = (0..20).map(|n| Finding::of_server(format!("problem {n}")));
        assert_eq!(lines(many).len(), MOST_GROUPS);
    }
}
