//! Tells a monitoring system how much was done: the text format 0.0.4 of Prometheus, over HTTP.
//!
//! One connection at a time, for a second at most, and one request that fits a packet or two: a
//! flood of them costs the server nothing that its sessions would miss.

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant as Clock};

use tracing::debug;

use super::registry::{Registry, What};
use super::{Stop, accept, drain, knocked};

/// Bytes of the longest request.
const REQUEST_LEN_MAX: usize = 8 * 1024;

/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// Starts the thread that answers on `listener` until the server stops.
pub(super) fn start(listener: TcpListener, registry: Arc<Registry>, stop: Stop) -> io::Result<()> {
    thread::Builder::new().name("kift metrics".to_owned()).spawn(move || {
        while !stop.is_asked() {
            if !knocked(&[&listener]).is_ok_and(|at| !at.is_empty()) {
                continue;
            }
            let Some((stream, peer)) = accept(&listener) else { continue };
            if let Err(error) = answer(&stream, &registry) {
                debug!(%peer, %error, "asked for metrics, and got none");
            }
        }
    })?;
    Ok(())
}

fn answer(mut stream: &TcpStream, registry: &Registry) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = request(stream)?;
    let (status, text) = match request_line(&request) {
        Some("GET /metrics") => ("200 OK", text(registry)),
        Some(line) if line.starts_with("GET ") => {
            ("404 Not Found", "only /metrics is here\n".to_owned())
        }
        Some(_) => ("405 Method Not Allowed", "only GET is answered\n".to_owned()),
        None => ("400 Bad Request", "this is no request of HTTP/1\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        text.len()
    );
    stream.write_all((head + &text).as_bytes())?;
    drain(stream);
    Ok(())
}

/// What came up to an empty line.
fn request(mut stream: &TcpStream) -> io::Result<Vec<u8>> {
    let deadline = Clock::now() + PATIENCE;
    let (mut request, mut piece) = (Vec::new(), [0; 1024]);
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let left = deadline.saturating_duration_since(Clock::now());
        if left.is_zero() || request.len() > REQUEST_LEN_MAX {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut piece)? {
            0 => break,
            n => request.extend_from_slice(&piece[..n]),
        }
    }
    Ok(request)
}

/// Method and path of a request, without what is behind a question mark.
fn request_line(request: &[u8]) -> Option<&str> {
    let line = request.split(|byte| *byte == b'\r').next()?;
    let line = str::from_utf8(line).ok()?;
    let (asked, version) = line.rsplit_once(' ')?;
    version.starts_with("HTTP/1.").then(|| asked.split('?').next().unwrap_or(asked))
}

/// All numbers, each with what it means.
fn text(registry: &Registry) -> String {
    let totals = &registry.totals;
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, samples: &[(String, u64)]| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let labelled = |label: &str, samples: &[(&str, u64)]| -> Vec<(String, u64)> {
        samples.iter().map(|(of, n)| (format!("{{{label}=\"{of}\"}}"), *n)).collect()
    };
    let version = labelled("version", &[(env!("CARGO_PKG_VERSION"), 1)]);
    family("kift_build_info", "gauge", "The version that runs.", &version);
    let alone = |value| [(String::new(), value)];
    family("kift_uptime_seconds", "gauge", "Since the start.", &alone(registry.uptime_s()));
    let sessions = alone(registry.sessions() as u64);
    family("kift_sessions", "gauge", "Connections under way.", &sessions);
    let doing = |what| registry.doing(what) as u64;
    let transfers = [("in", doing(What::Put)), ("out", doing(What::Get))];
    let transfers = labelled("direction", &transfers);
    family("kift_transfers", "gauge", "Files on their way.", &transfers);
    let ended = [
        ("ended", totals.ended.get()),
        ("lost", totals.lost.get()),
        ("failed", totals.failed.get()),
    ];
    let ended = labelled("outcome", &ended);
    family("kift_sessions_total", "counter", "Sessions that are over.", &ended);
    let logins = [("ok", totals.logins.get()), ("failed", totals.logins_failed.get())];
    family("kift_logins_total", "counter", "Logins.", &labelled("result", &logins));
    let files = [("in", totals.files_in.get()), ("out", totals.files_out.get())];
    let files = labelled("direction", &files);
    family("kift_files_total", "counter", "Files moved whole.", &files);
    let bytes = [("in", totals.bytes_in.get()), ("out", totals.bytes_out.get())];
    let bytes = labelled("direction", &bytes);
    family("kift_bytes_total", "counter", "Bytes of files moved.", &bytes);
    let refusals: Vec<_> = totals.refusals().into_iter().collect();
    let refusals = labelled("reason", &refusals);
    family("kift_refusals_total", "counter", "What was refused, and why.", &refusals);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_are_understood() {
        let line = |text: &str| request_line(text.as_bytes()).map(str::to_owned);
        assert_eq!(line("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").unwrap(), "GET /metrics");
        assert_eq!(line("GET /metrics?x=1 HTTP/1.0\r\n\r\n").unwrap(), "GET /metrics");
        assert_eq!(line("POST / HTTP/1.1\r\n\r\n").unwrap(), "POST /");
        for none in ["", "\r\n\r\n", "GET", "GET /metrics", "GET /metrics HTTP/2\r\n", "KIFT"] {
            assert_eq!(line(none), None, "{none:?}");
        }
    }

    #[test]
    fn every_sample_stands_below_its_type() {
        let registry = Arc::new(Registry::default());
        registry.totals.refused("rights");
        registry.totals.bytes_in.add(7);
        let text = text(&registry);
        assert!(text.contains("kift_bytes_total{direction=\"in\"} 7\n"), "{text}");
        assert!(text.contains("kift_refusals_total{reason=\"rights\"} 1\n"), "{text}");
        let mut family = "";
        for line in text.lines() {
            match line.strip_prefix("# TYPE ") {
                Some(named) => family = named.split(' ').next().unwrap(),
                None => assert!(line.starts_with('#') || line.starts_with(family), "{line}"),
            }
        }
    }
}
