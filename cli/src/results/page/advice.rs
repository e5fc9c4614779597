//! What a result means, and what helps.

use crate::scenario::Scenario;

/// What is known of a scenario, in three parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Explanation {
    /// What is done to the server.
    pub(super) what: String,
    /// What is wrong with the servers that fail.
    pub(super) why: String,
    /// What helps.
    pub(super) cure: String,
}

/// The parts of a scenario's description.
pub(super) fn explain(scenario: &str) -> Option<Explanation> {
    let about = scenario.parse::<Scenario>().ok()?.about();
    let (rest, cure) = about.split_once("Cure: ")?;
    let finds = rest.find("It finds ")?;
    let (what, why) = rest.split_at_checked(finds)?;
    Some(Explanation {
        what: plain(what),
        why: plain(why),
        cure: capital(&plain(cure)),
    })
}

/// Without the numbers of faults: the list of them is not on the page.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('(') {
        let number = after.split_once(')').filter(|(inside, _)| {
            let mut names = inside.split(", ");
            names.all(|name| {
                let digits = name.strip_prefix('F').unwrap_or_default();
                !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit())
            })
        });
        match number {
            Some((_, after)) => {
                plain += before.trim_end();
                rest = after;
            }
            None => {
                plain += before;
                plain.push('(');
                rest = after;
            }
        }
    }
    (plain + rest).trim().to_owned()
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}

/// How a well-known server is stopped well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) name: &'static str,
    /// The words of a command that tell it.
    words: &'static [&'static str],
    pub(super) advice: &'static str,
}

/// Servers before what runs them: the first one that is found counts.
const KNOWN: [Known; 14] = [
    Known {
        name: "nginx",
        words: &["nginx"],
        advice: "SIGTERM is nginx's fast stop and cuts connections; SIGQUIT is the graceful \
                 one (--signal QUIT, and STOPSIGNAL SIGQUIT in a container). \
                 worker_shutdown_timeout bounds it, and keepalive_min_timeout keeps an idle \
                 connection open for a moment, so that a request under way is still served.",
    },
    Known {
        name: "Apache httpd",
        words: &["httpd", "apache2", "apachectl", "apache2ctl"],
        advice: "SIGTERM stops Apache at once; SIGWINCH is the graceful stop (--signal WINCH). \
                 GracefulShutdownTimeout bounds it; its default is to wait without a bound.",
    },
    Known {
        name: "HAProxy",
        words: &["haproxy"],
        advice: "SIGTERM ends HAProxy at once; SIGUSR1 is the soft stop (--signal USR1). \
                 hard-stop-after bounds it; idle connections of clients are closed as \
                 close-spread-time says. For a new configuration use a reload, which hands the \
                 listening sockets on.",
    },
    Known {
        name: "lighttpd",
        words: &["lighttpd"],
        advice: "SIGTERM stops lighttpd at once; SIGINT is the graceful stop (--signal INT). \
                 The feature flag server.graceful-shutdown-timeout bounds it.",
    },
    Known {
        name: "Caddy",
        words: &["caddy"],
        advice: "SIGTERM is Caddy's graceful stop. The global option grace_period bounds it \
                 (its default is to wait without a bound), and shutdown_delay serves on for a \
                 while before it, for the balancer to notice.",
    },
    Known {
        name: "gunicorn",
        words: &["gunicorn"],
        advice: "SIGTERM is gunicorn's graceful stop, SIGINT and SIGQUIT are quick ones. \
                 --graceful-timeout bounds it (30 s). What waits in the accept queue when the \
                 last worker closes it is reset, so take the server out of the balancer first, \
                 and wait before the signal until no new connection comes.",
    },
    Known {
        name: "uvicorn",
        words: &["uvicorn"],
        advice: "SIGTERM is uvicorn's graceful stop. Without --timeout-graceful-shutdown it \
                 waits for open requests without a bound. A second signal ends it at once, so \
                 let only one of supervisor, shell and terminal send it.",
    },
    Known {
        name: "Hypercorn",
        words: &["hypercorn"],
        advice: "SIGTERM is Hypercorn's graceful stop. --graceful-timeout says how long it \
                 waits for open requests; its default is short.",
    },
    Known {
        name: "Redis",
        words: &["redis-server"],
        advice: "Redis saves and ends on SIGTERM; shutdown-timeout waits for replicas, not for \
                 clients, which are cut. Clients that retry on a new connection, and a \
                 failover before the stop, are what keeps commands.",
    },
    Known {
        name: "Python's http.server",
        words: &["http.server"],
        advice: "http.server has no graceful stop: SIGTERM ends the process in the middle of \
                 whatever it does. A handler that calls shutdown() from another thread ends its \
                 loop after the request under way; it is meant for development.",
    },
    Known {
        name: "Node.js",
        words: &["node", "nodejs"],
        advice: "Without a handler SIGTERM ends Node at once. In the handler call \
                 server.close(), and server.closeIdleConnections() where the version is older \
                 than 19; after a deadline server.closeAllConnections(). A client that is \
                 connected and silent counts as busy until headersTimeout or requestTimeout.",
    },
    Known {
        name: "npm",
        words: &["npm", "npx", "yarn", "pnpm"],
        advice: "The signal goes to the package manager, which may not pass it on, or ends \
                 before the server does. Start the server itself: `node server.js`.",
    },
    Known {
        name: "a shell",
        words: &["sh", "bash", "dash"],
        advice: "The signal goes to the shell, which does not pass it on. Let the shell become \
                 the server: `exec ./server` as its last line.",
    },
    Known {
        name: "Python",
        words: &["python", "python3"],
        advice: "Without a handler SIGTERM ends Python at once, in the middle of whatever it \
                 does. Set one with signal.signal or loop.add_signal_handler before the first \
                 accept, stop accepting in it, and end when the last request has its answer.",
    },
];

/// The server that a command starts, if it is a well-known one.
pub(super) fn recognise(command: &[String]) -> Option<&'static Known> {
    let programs: Vec<&str> = command
        .iter()
        .flat_map(|word| word.split_whitespace())
        .map(|word| word.rsplit('/').next().unwrap_or(word))
        .collect();
    // A shell that becomes the server is no shell any more.
    let becomes = programs.contains(&"exec");
    KNOWN.iter().find(|known| {
        let is_named = known.words.iter().any(|word| programs.contains(word));
        is_named && !(becomes && known.name == "a shell")
    })
}

/// What the losses of one kind mean when a command runs, and what helps.
pub(super) fn of_loss(kind: &str) -> &'static str {
    match kind {
        "failed" => {
            "An answer came, but an error: usually a 502 or 503 of a balancer whose backend was \
             gone, or had taken the request and lost it. Let the old server serve until the \
             balancer knows that it goes (fail its readiness first, wait, then stop), let the \
             new one be ready before it gets traffic, and let the balancer try again where that \
             is safe (HAProxy: option redispatch, retry-on)."
        }
        "lost" => {
            "The connection ended in an orderly way, and the answer was not whole. The server \
             took the request, or had it in its kernel, and closed. It must answer what had \
             arrived before it closes; an HTTP server announces the end with \"Connection: \
             close\" and reads on for a moment."
        }
        "reset" => {
            "The connection was reset before the answer was whole. The server was killed, or it \
             closed with unread input, or it closed its listener while this client was in the \
             accept queue. Sweep the queue, half-close and read on before the close, and give \
             the stop enough time before the supervisor kills."
        }
        "refused" => {
            "Nobody listened. Start the new server before the old one stops: hand the listening \
             socket on, let both listen with SO_REUSEPORT, or keep the socket in the supervisor \
             (systemd's socket activation). With a balancer: it must not send to a server \
             that has stopped listening."
        }
        _ => {
            "No whole answer came in time. The request is in a server that no longer works on \
             it, or in the accept queue of one that no longer accepts. Close the listener when \
             accepting ends, and bound the stop."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn each_scenario_is_explained_in_three_parts() {
        for scenario in Scenario::ALL {
            let explanation = explain(scenario.name()).expect("three parts");
            assert!(!explanation.what.is_empty(), "{scenario}");
            assert!(explanation.why.starts_with("It finds "), "{scenario}");
            assert!(explanation.cure.ends_with('.'), "{scenario}");
        }
    }

    #[test]
    fn numbers_of_faults_are_left_out_and_nothing_else() {
        let text = "lost (F1, F23), reset (later) and (F33: late)";
        assert_eq!(plain(text), "lost, reset (later) and (F33: late)");
        assert_eq!(plain("(F1) open ( and"), "open ( and");
    }

    #[test]
    fn a_server_is_known_by_its_command() {
        let name = |text| recognise(&words(text)).map(|known| known.name);
        assert_eq!(name("/usr/sbin/nginx -g daemon off;"), Some("nginx"));
        assert_eq!(
            name("python3 -m http.server 80"),
            Some("Python's http.server")
        );
        assert_eq!(name("python3 app.py"), Some("Python"));
        assert_eq!(name("python3 -m uvicorn app:app"), Some("uvicorn"));
        assert_eq!(name("npm start"), Some("npm"));
        assert_eq!(name("sh -c ./server"), Some("a shell"));
        assert_eq!(
            recognise(&["sh".into(), "-c".into(), "exec ./server".into()]),
            None
        );
        assert_eq!(name("./target/release/echo --listen {addr}"), None);
    }
}
