//! What each scenario finds, why it happens, and what cures it.

use super::Scenario;

impl Scenario {
    /// A paragraph for people; `docs/check.md` holds the same.
    pub(crate) fn about(self) -> &'static str {
        match self {
            Scenario::Frozen => FROZEN,
            Scenario::Storm => STORM,
            Scenario::Pipelined => PIPELINED,
            Scenario::Streams => STREAMS,
            Scenario::SlowSpeaker => SLOW_SPEAKER,
            Scenario::HalfHead => HALF_HEAD,
            Scenario::Upgrade => UPGRADE,
            Scenario::Websocket => WEBSOCKET,
            Scenario::TlsSilent => TLS_SILENT,
            Scenario::TlsHalfRecord => TLS_HALF_RECORD,
            Scenario::CloseNotify => CLOSE_NOTIFY,
            Scenario::SignalTwiceAtOnce => SIGNAL_TWICE_AT_ONCE,
            Scenario::GroupSignal => GROUP_SIGNAL,
            Scenario::BlockedSignal => BLOCKED_SIGNAL,
            Scenario::DeafLog => DEAF_LOG,
            Scenario::FrozenInTheDrain => FROZEN_IN_THE_DRAIN,
            Scenario::Restart => RESTART,
            Scenario::SlowReader => SLOW_READER,
            Scenario::HalfRequest => HALF_REQUEST,
            Scenario::Idle => IDLE,
            Scenario::Silent => SILENT,
            Scenario::Stubborn => STUBBORN,
            Scenario::SecondSignal => SECOND_SIGNAL,
            Scenario::Flood => FLOOD,
            Scenario::Descriptors => DESCRIPTORS,
            Scenario::Exit => EXIT,
        }
    }
}

const FROZEN: &str = "\
The server is halted with SIGSTOP for a second, so that its timers run out, too. Requests are written on connections that it has served \
before, and on new ones, which wait in its accept queue; then it gets the stop signal and may \
run on. Everything had arrived before the stop, so everything must be answered, and nothing \
here is left to chance. It finds servers that close their listener without accepting what waits \
there, which makes the kernel reset it (F1), that lose a connection between accepting and \
counting it (F8), and that look at the stop before they look at their input. Cure: accept until \
the queue is empty and then close at once; read until a read would block before ending an idle \
connection.";

const STORM: &str = "\
Half of the clients send a request as soon as they have the last answer, half connect for \
each one, and the signal comes at a moment that differs from round to round. It finds what \
happens in the narrow places: the accept queue (F1), handshakes that end just before the close \
of the listener (F2), requests that race the close of an idle connection (F17). A message \
counts as lost only if its write had returned before the signal was sent. Cure: sweep the \
queue, let readable input win over the stop, and half-close and read on for a moment instead of \
closing at once.";

const PIPELINED: &str = "\
Several requests are written at once on each connection, and all have arrived before the stop. \
All must be answered, in order (RFC 9112 section 9.3.2), unless an earlier answer announces the \
end of the connection: a request behind Connection: close may be dropped (section 9.6). It finds \
servers that answer the request they are at and throw the rest of their buffer away, without a \
word (F75). Cure: answer what has arrived, and announce the close with the last answer alone.";

const STREAMS: &str = "\
HTTP/2: several streams of a connection are under way, one of them with half of its frames, and \
other connections have not even sent a preface. Each stream must be answered, unless a GOAWAY or \
REFUSED_STREAM says that it was not processed (RFC 9113 sections 6.8 and 8.7), and the silent \
connections must be ended. It finds servers that drop streams without a word, count a GOAWAY as \
the end, or wait for a preface for ever (F20, F21). Cure: GOAWAY with the last stream that is \
served, serve it, then half-close and read on.";

const SLOW_READER: &str = "\
Clients ask for much, and read it only after the signal, slowly. What the server had taken must \
come back whole, with an orderly end. It finds servers that close a socket with unread input or \
with SO_LINGER 0, which sends a reset that destroys the output under way (F16, F23), and \
servers that exit before it was delivered (F24). With h2 the room for the answer is granted only \
then, and updates of it go on after the server's last byte. Cure: half-close, then discard input \
until the peer ends or is quiet, then close. HTTP needs a response that is larger than the \
socket buffers (--large-path); with a smaller one nothing can be seen. One without a length, whose \
end is that of its connection, is compared with two that were read before the signal.";

const SLOW_SPEAKER: &str = "\
Clients send their requests in ten pieces, one every 150 milliseconds; three of them come before \
the signal. Each request must be answered; an echo server may end between two pieces, in an \
orderly way. It finds servers whose patience with input is shorter than the round trip of many \
networks, so that a piece under way becomes a reset (F67), and those that drop a request which \
has begun (F27). Cure: a connection is busy from the first byte of a request; linger for two \
round trips of that connection at least.";

const HALF_REQUEST: &str = "\
Half of a request comes before the signal, the rest after it: half of the body where the server \
takes POST, half of the head elsewhere, on connections that had an answer and on new ones. An \
HTTP server knows that the request is not whole, so the client must get its whole response. An \
echo server cannot know: it must answer the first half and may end then, but in an orderly way, \
although the rest is coming just then (F17). It finds servers that take a connection for idle \
because no request is being handled yet (F27), and those whose close becomes a reset (F16). \
Cure: a connection is busy from the first byte of a request to the last byte of its response; \
half-close before the close.";

const HALF_HEAD: &str = "\
Five bytes of a request come before the signal, on connections that had an answer before. The \
client must get its whole response: the server has read the start of a request, and an idle \
connection is one without. It finds servers that count a connection as busy only once the head \
is whole, or the handler runs (F27). Cure: as for half-request.";

const UPGRADE: &str = "\
Half of a WebSocket handshake comes before the signal, the rest after it. It must be answered \
with status 101, then a Close frame and the end. It finds servers that turn the upgrade into a \
close, or forget the connection once it is upgraded (F21). Cure: an upgrade is a request like \
any other, and an upgraded connection counts until it ends.";

const WEBSOCKET: &str = "\
Connections that are idle, and others with half of a message. Each message must be answered, and \
each connection must see a Close frame before its end (RFC 6455 section 7.1.1). Half a message \
may be discarded if the Close frame comes before its rest (section 5.5.1): a note says so, as a \
server that waits for the rest loses nothing. It finds servers that do not know their upgraded \
connections, wait for them without a bound, or end them without a Close frame, which clients \
report as 1006 (F21). Cure: send Close with 1001 at an idle point, wait for the answer for a \
bounded time, then close.";

const IDLE: &str = "\
Connections that had an answer and then send nothing. All must be ended in an orderly way within \
the limit; the time of the last end is in the table. It finds servers that wait for their \
clients to leave, or without any bound (F20, F28), and those that look at the stop only every so \
often (F33: the last end comes late). Cure: wait for input and for the stop at the same time.";

const SILENT: &str = "\
Connections that were opened and never sent a byte, as browsers and load balancers do. All must \
be ended in an orderly way within the limit. It finds servers that take a new connection for a \
busy one (F20), and polling (F33). Connections that the system keeps from the server until their \
first byte (TCP_DEFER_ACCEPT) are left out. Cure: a connection is idle until its first byte.";

const TLS_SILENT: &str = "\
Connections that say nothing over TLS: some never begin the handshake, some stop in the middle \
of their ClientHello, some have shaken hands and ask nothing. All must be ended in an orderly \
way within the limit. It finds servers whose handshake cannot be interrupted (F20), and those \
that shake hands within their accept loop, where one such client keeps out all others. Cure: a \
connection is idle until the first byte of the handshake, and the handshake has a time-out.";

const TLS_HALF_RECORD: &str = "\
Half of a TLS record with a request in it comes before the signal, the rest after it. The client \
must get its answer. It finds servers that ask only their TLS library whether there is input: \
half a record is none to it, and still it is on the way (F27). Cure: a connection is busy while \
a record is not whole.";

const CLOSE_NOTIFY: &str = "\
Idle connections over TLS. Each must get a close_notify before its end (RFC 8446 section 6.1): \
without it a client cannot tell the end from a connection that was cut. It finds servers that \
close the socket below their TLS. Cure: shut down TLS first, then half-close.";

const STUBBORN: &str = "\
Clients that neither read nor close: some leave the server stuck in a write, some keep a \
connection open for ever. The server must end within the limit all the same. It finds servers \
without a deadline (F28), and a lingering close without a cap (F22). Cure: one budget for the \
whole stop, after which what is left is aborted and counted.";

const SECOND_SIGNAL: &str = "\
The same stubborn clients; the signal is sent twice, and after the second one the server must be \
gone within five seconds. It finds servers that ignore a second signal, so that only SIGKILL is \
left to an operator in a hurry, or that crash on it (F38). Cure: the second signal aborts and \
does nothing else.";

const SIGNAL_TWICE_AT_ONCE: &str = "\
Half of a request is there, and the signal comes again 20 milliseconds later, once the server \
has acted on the first one: a terminal or `timeout` signals the whole group, and a wrapper \
forwards it (F45). It is one stop, and every request must be answered. It finds servers that take the second delivery for an operator in a \
hurry and abort everybody. Cure: the same signal within 100 milliseconds is the same stop.";

const GROUP_SIGNAL: &str = "\
Half of a request is there, and every process of the server's group gets the signal at the same \
time, as on Ctrl-C. Every request must be answered. It finds workers that die of the signal \
which their master means to answer, and masters that pass on what everybody has already (F45). \
Cure: workers leave the stop to their master, or take it for the same stop.";

const BLOCKED_SIGNAL: &str = "\
The server is started with the stop signal blocked, as some supervisors leave it (F55). It must \
stop all the same, within ten seconds. It finds servers that never look at their signal mask. \
Cure: unblock what is caught.";

const DEAF_LOG: &str = "\
The server's standard output and standard error are pipes that nobody reads any more, and that \
are full: a log collector that hangs, Ctrl-S, `less` (F47). The stop must be over within the \
limit. What the server owes to its clients is not asked here. It finds servers whose stop waits \
in its own logger, so that neither the budget nor a second signal is looked at. Cure: log \
without blocking, and keep the deadline on a thread that does not log. Linux only.";

const FROZEN_IN_THE_DRAIN: &str = "\
Half of a request is there, the signal comes, and the server is halted while it drains, for two \
seconds (--freeze); the rest of the request arrives meanwhile. Every request must be answered. A \
container that is paused or migrated does this. It finds servers that find their budget spent on \
the thaw, and abort everybody without looking at their input (F61): give --freeze a longer time \
than the grace period to see it. Cure: one look at all connections before a deadline counts.";

const FLOOD: &str = "\
Clients connect again and again, also while the server drains. The stop must end all the \
same. It finds servers that sweep their accept queue without a bound, so that a flood keeps them \
from stopping, and those that go on to accept while they drain (F9). Cure: bound the sweep by \
count and time, then close the listener. Connections that began after the signal may be refused \
or reset: they are in the reset column, and do not count as lost.";

const DESCRIPTORS: &str = "\
The server's descriptor limit is lowered until it cannot accept, then raised again, and then the \
signal comes. The clients that waited must be served, and the stop must end. It finds accept \
loops that end on an error of accept, and those that spin on it, by the processor time that they \
take while nothing can be done (F7). Cure: on errors of resources wait a little, longer each \
time, and stay able to stop. Linux only.";

const RESTART: &str = "\
The server is told to replace itself (--restart-signal, --restart-command) under load, and the \
load goes on for three seconds. No client may be refused, reset, or left without an answer. It \
finds a gap between the old listener and the new one, and old workers that drop what they have \
(F3, F42, F51). Over HTTP a request that crosses the end of an idle connection may be sent \
again, and does not count (RFC 9112 section 9.3.1); other protocols have no such rule. Where \
another process takes the place of the first one, that has to end once its clients have left, \
and the other one is then told to stop. Where the server ends and nothing listens any more, \
that alone is told: this signal or command does not restart it. Cure: hand the listening socket \
on, and drain the old process as for a stop; read connections that are silent for a moment more, \
since a request may be on its way, and announce the end where the protocol can.";

const EXIT: &str = "\
A stop with nobody connected. The exit status must be 0 (--exit-status), no process of the group \
may be left, and the port must be free again. A server that dies of the very signal that stopped \
it is noted, and not failed, as is a process that has left the group and lives on (Linux). It \
finds servers that report a clean stop as a failure, and listeners that live on in a child (F6). \
Cure: catch the signal before the first accept, return from main, open sockets with CLOEXEC and \
wait for children.";
