//! Chromium as a caller: starts it headless with a speech file as its microphone, opens a page and evaluates scripts in
//! it over the DevTools protocol.
//!
//! Only what the tests need of that protocol: `Runtime.evaluate` and screenshots of one page. The browser gets an empty profile, talks
//! to loopback only, and is ended by its own pid.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use thiserror::Error;
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Message, WebSocket};

/// How long the browser may take to open its debugging port.
const START_WITHIN: Duration = Duration::from_secs(30);
/// How long it may take to draw a page.
const DRAW_WITHIN: Duration = Duration::from_secs(15);

/// What can go wrong with a browser.
#[derive(Debug, Error)]
pub enum ChromiumError {
    /// It is not installed.
    #[error("{0} does not start: {1}; install it with: apt-get install -y chromium")]
    NotInstalled(String, io::Error),
    /// It did not come up.
    #[error("Chromium did not open its debugging port in 30 s")]
    NoPort,
    /// The connection to it failed.
    #[error("the DevTools connection failed: {0}")]
    Connection(String),
    /// The script threw, or its promise was rejected.
    #[error("the page's script failed: {0}")]
    Script(String),
}

/// A running browser with one page.
pub struct Chromium {
    child: Child,
    profile: tempfile::TempDir,
    port: u16,
}

/// One page of it.
pub struct Page {
    socket: WebSocket<MaybeTlsStream<TcpStream>>,
    next_id: u64,
}

impl Chromium {
    /// Starts the browser; `microphone` is a WAV file that is played in a loop as the microphone's sound.
    ///
    /// # Errors
    /// It is not installed, or does not come up.
    pub fn launch(microphone: &Path) -> Result<Self, ChromiumError> {
        let program =
            std::env::var("CLUTCHCALL_CHROMIUM").unwrap_or_else(|_| "chromium".to_owned());
        let profile =
            tempfile::tempdir().map_err(|error| ChromiumError::Connection(error.to_string()))?;
        let child = Command::new(&program)
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--disable-features=WebRtcHideLocalIpsWithMdns",
                "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream",
                "--autoplay-policy=no-user-gesture-required",
                "--ignore-certificate-errors",
                "--allow-loopback-in-peer-connection",
                "--remote-debugging-port=0",
            ])
            .arg(format!(
                "--use-file-for-fake-audio-capture={}",
                microphone.display()
            ))
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| ChromiumError::NotInstalled(program, error))?;
        let mut chromium = Self {
            child,
            profile,
            port: 0,
        };
        chromium.port = chromium.wait_for_port()?;
        Ok(chromium)
    }

    /// Opens `url` in a page of its own and waits until it has loaded.
    ///
    /// # Errors
    /// The page does not load.
    pub fn open(&self, url: &str) -> Result<Page, ChromiumError> {
        let created = self.http("PUT", "/json/new?about:blank")?;
        let address = created["webSocketDebuggerUrl"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let (socket, _) = tungstenite::connect(&address)
            .map_err(|error| ChromiumError::Connection(error.to_string()))?;
        let mut page = Page { socket, next_id: 0 };
        page.command(
            "Page.navigate",
            &json!({ "url": url }),
            Duration::from_secs(15),
        )?;
        let deadline = Instant::now() + Duration::from_secs(15);
        let loaded = "location.href !== 'about:blank' && document.readyState === 'complete'";
        while page.evaluate(loaded, Duration::from_secs(15))? != Value::Bool(true) {
            if Instant::now() > deadline {
                return Err(ChromiumError::Connection(format!("{url} did not load")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(page)
    }

    /// Name and version, as the browser tells them.
    ///
    /// # Errors
    /// The debugging port does not answer.
    pub fn version(&self) -> Result<String, ChromiumError> {
        Ok(self.http("GET", "/json/version")?["Browser"]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    }

    fn wait_for_port(&mut self) -> Result<u16, ChromiumError> {
        let file: PathBuf = self.profile.path().join("DevToolsActivePort");
        let deadline = Instant::now() + START_WITHIN;
        while Instant::now() < deadline {
            let text = fs::read_to_string(&file).unwrap_or_default();
            if let Some(port) = text.lines().next().and_then(|line| line.parse().ok()) {
                return Ok(port);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(ChromiumError::NoPort)
    }

    fn http(&self, method: &str, path: &str) -> Result<Value, ChromiumError> {
        let failed = |error: io::Error| ChromiumError::Connection(error.to_string());
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).map_err(failed)?;
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .map_err(failed)?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\r\n",
            self.port
        );
        stream.write_all(request.as_bytes()).map_err(failed)?;
        // The browser keeps the connection open whatever it was asked.
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).map_err(failed)?;
            if line.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or_default();
            }
        }
        let mut body = String::new();
        reader
            .take(length)
            .read_to_string(&mut body)
            .map_err(failed)?;
        serde_json::from_str(&body)
            .map_err(|error| ChromiumError::Connection(format!("{error}: {body}")))
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // Its children end with it; an error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Page {
    /// Evaluates `script`, waits for its promise if it is one, and returns its value as JSON.
    ///
    /// # Errors
    /// The script throws, or does not end in time.
    pub fn evaluate(&mut self, script: &str, within: Duration) -> Result<Value, ChromiumError> {
        let parameters = json!({ "expression": script, "awaitPromise": true, "returnByValue": true, "userGesture": true });
        let result = self.command("Runtime.evaluate", &parameters, within)?;
        if let Some(details) = result.get("exceptionDetails") {
            let text = details["exception"]["description"]
                .as_str()
                .or(details["text"].as_str());
            return Err(ChromiumError::Script(text.unwrap_or("unknown").to_owned()));
        }
        Ok(result["result"]["value"].clone())
    }

    /// Evaluates the expression `condition` until it is true.
    ///
    /// # Errors
    /// It throws, or is not true in time.
    pub fn wait_for(&mut self, condition: &str, within: Duration) -> Result<(), ChromiumError> {
        let script = format!(
            "new Promise((resolve, reject) => {{ const end = performance.now() + {}; \
             const look = () => ({condition}) ? resolve(true) : performance.now() > end \
             ? reject(new Error('not in time: ' + {})) : setTimeout(look, 20); look(); }})",
            within.as_millis(),
            json!(condition),
        );
        self.evaluate(&script, within + Duration::from_secs(5))
            .map(|_| ())
    }

    /// Gives the page a window of this size, in CSS pixels.
    ///
    /// # Errors
    /// The connection fails.
    pub fn resize(&mut self, width: u32, height: u32, mobile: bool) -> Result<(), ChromiumError> {
        let metrics =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile });
        self.command("Emulation.setDeviceMetricsOverride", &metrics, DRAW_WITHIN)
            .map(|_| ())
    }

    /// Lets the page believe that its user prefers `light` or `dark`.
    ///
    /// # Errors
    /// The connection fails.
    pub fn prefer_color_scheme(&mut self, scheme: &str) -> Result<(), ChromiumError> {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.command("Emulation.setEmulatedMedia", &features, DRAW_WITHIN)
            .map(|_| ())
    }

    /// The page as it is drawn now, as a PNG.
    ///
    /// # Errors
    /// The connection fails, or it is not drawn in time.
    pub fn screenshot(&mut self) -> Result<Vec<u8>, ChromiumError> {
        let format = json!({ "format": "png" });
        let drawn = self.command("Page.captureScreenshot", &format, DRAW_WITHIN)?;
        BASE64
            .decode(drawn["data"].as_str().unwrap_or_default())
            .map_err(|error| ChromiumError::Connection(error.to_string()))
    }

    fn command(
        &mut self,
        method: &str,
        parameters: &Value,
        within: Duration,
    ) -> Result<Value, ChromiumError> {
        let failed = |error: String| ChromiumError::Connection(error);
        self.next_id += 1;
        let id = self.next_id;
        let text = json!({ "id": id, "method": method, "params": parameters }).to_string();
        self.socket
            .send(Message::text(text))
            .map_err(|error| failed(error.to_string()))?;
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(failed(format!(
                    "{method} did not end in {} s",
                    within.as_secs()
                )));
            }
            if let MaybeTlsStream::Plain(stream) = self.socket.get_ref() {
                stream
                    .set_read_timeout(Some(left))
                    .map_err(|error| failed(error.to_string()))?;
            }
            let message = match self.socket.read() {
                Ok(Message::Text(text)) => text,
                Ok(_) => continue,
                Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    continue;
                }
                Err(error) => return Err(failed(error.to_string())),
            };
            let answer: Value =
                serde_json::from_str(&message).map_err(|error| failed(error.to_string()))?;
            if answer["id"] != id {
                continue;
            }
            return match answer.get("error") {
                Some(error) => Err(failed(format!("{method}: {error}"))),
                None => Ok(answer["result"].clone()),
            };
        }
    }
}
