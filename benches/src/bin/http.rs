//! Any of the HTTP servers: `http KIND 1|2 [CERTIFICATE KEY]`.

use lameduck_benches::http::{HTTP_KINDS, PemFiles, Transport, Version};
use lameduck_benches::servers::Ended;

fn main() -> Ended {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (kind, version, tls) = match &words[..] {
        [kind, version] => (kind, version, None),
        [kind, version, certificate, key] => {
            let (certificate, key) = (certificate.into(), key.into());
            (kind, version, Some(PemFiles { certificate, key }))
        }
        _ => return Err("usage: http KIND 1|2 [CERTIFICATE KEY]".into()),
    };
    let kind = HTTP_KINDS.iter().find(|known| known.title == kind);
    let version = match &version[..] {
        "1" => Version::Http1,
        _ => Version::Http2,
    };
    (kind.ok_or("no such server")?.main)(Transport { version, tls })
}
