//! `cargo xtask demo`: from a clone to a call that is heard, in one command.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::host;
use crate::run::{self, Outcome, cargo, run, step};

/// How long the gateway may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Builds, starts, calls, and unless `once`, stays.
pub fn demo(once: bool) -> Outcome {
    host::ensure(host::BUILD_TOOLS)?;
    host::check_memlock()?;
    step("building (a few minutes the first time)");
    // The same build that the tests use, so that whoever tries both waits once.
    cargo(&["build", "--workspace", "--bins"])?;

    let place = Place::make()?;
    step("starting the gateway with an echo trunk on PCMU");
    let gateway = place.start_gateway()?;
    step("one call with speech: our client on Opus, the echo on PCMU, transcoded both ways");
    run(Command::new(binary("clutchcall-loadtest"))
        .arg("call")
        .args(["--url", &format!("wss://localhost:{}", place.port)])
        .args(["--tenant", "demo", "--trunk", "echo"])
        .arg("--token-file")
        .arg(place.token_file()?)
        .arg("--ca")
        .arg(place.file("cert.pem")))?;
    if once {
        return gateway.stop();
    }
    let origin = place.origin();
    println!(
        "\nThe gateway stays up. Open the softphone (the certificate is self-made, your browser will ask):\n"
    );
    println!(
        "    {origin}/#tenant=demo&to=echo&token={}\n",
        place.token(&origin)?
    );
    println!("A token is good for one connection within 300 s. For another one:\n");
    println!(
        "    {} token --config {} --tenant demo --origin {origin}\n",
        binary("clutchcall-gateway").display(),
        place.file("gateway.toml").display()
    );
    println!("Enter asks for a fresh address, Ctrl-D ends the demo.");
    for line in io::stdin().lock().lines() {
        if line.is_err() {
            break;
        }
        println!(
            "    {origin}/#tenant=demo&to=echo&token={}",
            place.token(&origin)?
        );
    }
    gateway.stop()
}

/// `target/demo`: certificate, keys and configuration of the demo.
struct Place {
    directory: PathBuf,
    port: u16,
}

impl Place {
    fn make() -> Result<Self, String> {
        let directory = run::target().join("demo");
        fs::create_dir_all(&directory)
            .map_err(|error| format!("{}: {error}", directory.display()))?;
        let place = Self {
            directory,
            port: free_tcp_port(7443)?,
        };
        run(Command::new(binary("clutchcall-gateway"))
            .args(["keygen", "--force", "--name", "localhost"])
            .arg("--tls-cert")
            .arg(place.file("cert.pem"))
            .arg("--tls-key")
            .arg(place.file("key.pem"))
            .arg("--token-key")
            .arg(place.file("token-key.pem")))?;
        let admin_port = free_tcp_port(7444)?;
        let udp_port = free_udp_port()?;
        let origin = place.origin();
        let gateway = format!(
            "# Made by `cargo xtask demo`.\n\
             [server]\nlisten = [\"[::]:{port}\"]\ncert_file = \"cert.pem\"\nkey_file = \"key.pem\"\n\
             token_key_file = \"token-key.pem\"\npublic_url = \"wss://localhost:{port}\"\ndemo_page = true\n\n\
             [admin]\nlisten = \"127.0.0.1:{admin_port}\"\n\n\
             [[tenants]]\ntenant_id = \"demo\"\n[tenants.browser]\norigins = [\"{origin}\"]\n\
             [[tenants.routes]]\nvendor = \"browser\"\ntrunk_id = \"echo\"\n\n\
             [[trunks]]\ntrunk_id = \"echo\"\ntenant_id = \"demo\"\nkind = \"echo\"\ncodec = \"PCMU\"\n",
            port = place.port,
        );
        place.write("gateway.toml", &gateway)?;
        place.write(
            "shards.toml",
            &format!("cores = [0]\nwebrtc_udp_port_base = {udp_port}\n"),
        )?;
        Ok(place)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn origin(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    fn write(&self, name: &str, text: &str) -> Outcome {
        fs::write(self.file(name), text)
            .map_err(|error| format!("{}: {error}", self.file(name).display()))
    }

    fn start_gateway(&self) -> Result<Gateway, String> {
        let log = fs::File::create(self.file("gateway.log"))
            .map_err(|error| format!("gateway.log: {error}"))?;
        let child = Command::new(binary("clutchcall-gateway"))
            .arg("serve")
            .arg("--config")
            .arg(self.file("gateway.toml"))
            .arg("--shards")
            .arg(self.file("shards.toml"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| format!("the gateway did not start: {error}"))?;
        let mut gateway = Gateway {
            child,
            log: self.file("gateway.log"),
        };
        gateway.wait_for(self.port)?;
        println!(
            "    listening on wss://localhost:{}; its log is {}",
            self.port,
            gateway.log.display()
        );
        Ok(gateway)
    }

    /// A token in a file: commands are shown, and a token is nobody's business.
    fn token_file(&self) -> Result<PathBuf, String> {
        let file = self.file("token");
        fs::write(&file, self.token("")?)
            .map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(file)
    }

    fn token(&self, origin: &str) -> Result<String, String> {
        let config = self.file("gateway.toml");
        let mut arguments = vec!["token", "--tenant", "demo", "--config"];
        let config = config.to_string_lossy();
        arguments.push(&config);
        if !origin.is_empty() {
            arguments.extend(["--origin", origin]);
        }
        run::output(&binary("clutchcall-gateway").to_string_lossy(), &arguments)
            .ok_or_else(|| "the gateway gave no token".into())
    }
}

/// The running gateway; stopped by its own pid when dropped.
struct Gateway {
    child: Child,
    log: PathBuf,
}

impl Gateway {
    fn wait_for(&mut self, port: u16) -> Outcome {
        let deadline = Instant::now() + READY_WITHIN;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!(
                    "the gateway ended at once ({status}):\n{}",
                    last_lines(&self.log)
                ));
            }
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(format!(
            "the gateway did not listen in 30 s:\n{}",
            last_lines(&self.log)
        ))
    }

    fn stop(mut self) -> Outcome {
        let pid = self.child.id().to_string();
        run::output("kill", &["-TERM", &pid]);
        let status = self.child.wait().map_err(|error| error.to_string())?;
        if status.success() {
            Ok(())
        } else {
            Err(format!(
                "the gateway ended with {status}:\n{}",
                last_lines(&self.log)
            ))
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Harmless after `stop`; otherwise the demo failed and nothing may stay behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn binary(name: &str) -> PathBuf {
    run::target().join("debug").join(name)
}

fn free_tcp_port(wanted: u16) -> Result<u16, String> {
    let listener =
        TcpListener::bind(("127.0.0.1", wanted)).or_else(|_| TcpListener::bind("127.0.0.1:0"));
    let address = listener.and_then(|listener| listener.local_addr());
    address
        .map(|address| address.port())
        .map_err(|error| format!("no free TCP port: {error}"))
}

/// A UDP port for the only shard, outside the ephemeral range if it is free.
fn free_udp_port() -> Result<u16, String> {
    let socket = UdpSocket::bind("0.0.0.0:10000").or_else(|_| UdpSocket::bind("0.0.0.0:0"));
    let address = socket.and_then(|socket| socket.local_addr());
    address
        .map(|address| address.port())
        .map_err(|error| format!("no free UDP port: {error}"))
}

fn last_lines(log: &Path) -> String {
    let Ok(file) = fs::File::open(log) else {
        return String::new();
    };
    let lines: Vec<String> = BufReader::new(file).lines().map_while(Result::ok).collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
