//! What this host must have: compilers, peers, locked memory. As root, what is missing is installed by apt; otherwise
//! the one line that does it is printed.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{self, Outcome, run, step};

/// A program and the Debian package that brings it.
pub struct Tool {
    /// Its name, or of a package without programs a file by its whole path.
    program: &'static str,
    package: &'static str,
}

/// What every build needs: C for Opus and the crypto, git for glommio's build script.
pub const BUILD_TOOLS: &[Tool] = &[
    Tool {
        program: "cc",
        package: "build-essential",
    },
    Tool {
        program: "c++",
        package: "build-essential",
    },
    Tool {
        program: "cmake",
        package: "cmake",
    },
    Tool {
        program: "git",
        package: "git",
    },
];

/// What the tests need besides: a browser, a TURN server, SIP phones and proxies, namespaces with a firewall, Python for
/// aiortc, a watcher of memory, another media gateway, and what the README's own commands use.
pub const TEST_TOOLS: &[Tool] = &[
    Tool {
        program: "chromium",
        package: "chromium",
    },
    Tool {
        program: "turnserver",
        package: "coturn",
    },
    Tool {
        program: "ip",
        package: "iproute2",
    },
    Tool {
        program: "nft",
        package: "nftables",
    },
    Tool {
        program: "curl",
        package: "curl",
    },
    Tool {
        program: "openssl",
        package: "openssl",
    },
    Tool {
        program: "python3",
        package: "python3-venv",
    },
    // PESQ is compiled when it is installed.
    Tool {
        program: "python3-config",
        package: "python3-dev",
    },
    // Human speech for PESQ.
    Tool {
        program: "/usr/share/asterisk/sounds/en_US_f_Allison/demo-congrats.wav",
        package: "asterisk-core-sounds-en-wav",
    },
    Tool {
        program: "/usr/share/asterisk/sounds/fr_CA_f_June/demo-congrats.wav",
        package: "asterisk-core-sounds-fr-wav",
    },
    Tool {
        program: "/usr/share/asterisk/sounds/it_IT_m_Carlo/demo-congrats.wav",
        package: "asterisk-core-sounds-it-wav",
    },
    Tool {
        program: "valgrind",
        package: "valgrind",
    },
    Tool {
        program: "sipp",
        package: "sip-tester",
    },
    Tool {
        program: "baresip",
        package: "baresip-core",
    },
    Tool {
        program: "kamailio",
        package: "kamailio",
    },
    // Its modules lie where the processor says.
    Tool {
        program: "/etc/kamailio/tls.cfg",
        package: "kamailio-tls-modules",
    },
    // What `compare` takes turns with.
    Tool {
        program: "rtpengine",
        package: "rtpengine-daemon",
    },
];

/// What building and running for 64-bit ARM needs: a C compiler, its C library, and the processor.
pub const ARM_TOOLS: &[Tool] = &[
    Tool {
        program: "aarch64-linux-gnu-gcc",
        package: "gcc-aarch64-linux-gnu",
    },
    Tool {
        program: "/usr/aarch64-linux-gnu/lib/libc.so",
        package: "libc6-dev-arm64-cross",
    },
    Tool {
        program: "qemu-aarch64",
        package: "qemu-user",
    },
];

/// What the SDK's types and tests need, and werift.
pub const SDK_TOOLS: &[Tool] = &[
    Tool {
        program: "node",
        package: "nodejs",
    },
    Tool {
        program: "npm",
        package: "npm",
    },
];

/// Libraries that the benchmarks of `codecs` load as yardsticks, and their packages.
const YARDSTICKS: &[(&str, &str)] = &[
    ("libspeexdsp.so.1", "libspeexdsp1"),
    ("libsoxr.so.0", "libsoxr0"),
];
/// Locked memory that one io_uring executor needs, in KiB.
const MEMLOCK_KIB_MIN: u64 = 512;
/// The version of aiortc that the tests were written against.
const AIORTC: &str = "aiortc==1.16.0";
/// What scores speech for the codecs' tests, and what that needs.
const PESQ: [&str; 2] = ["pesq==0.0.4", "numpy==2.4.6"];
/// A framework for voice bots: its serializer is the agent behind a trunk.
const PIPECAT: &str = "pipecat-ai==1.14.0";
/// All of what the tests import from Python.
const PYTHON_IMPORTS: &str =
    "import aiortc, websockets, pesq; from pipecat.serializers.twilio import TwilioFrameSerializer";

/// Makes sure that `tools` are here.
pub fn ensure(tools: &[Tool]) -> Outcome {
    let missing = tools.iter().filter(|tool| !on_path(tool.program));
    install(missing.map(|tool| tool.package).collect())
}

/// Makes sure that what the benchmarks compare with is here.
pub fn ensure_yardsticks() -> Outcome {
    let known = run::output("/sbin/ldconfig", &["-p"]).unwrap_or_default();
    let missing = YARDSTICKS
        .iter()
        .filter(|(library, _)| !known.contains(library));
    install(missing.map(|(_, package)| *package).collect())
}

fn install(mut missing: Vec<&str>) -> Outcome {
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    let line = format!(
        "apt-get install -y --no-install-recommends {}",
        missing.join(" ")
    );
    if !is_root() || !on_path("apt-get") {
        return Err(format!(
            "these are missing: {}. Install them with:\n\n    sudo {line}\n",
            missing.join(", ")
        ));
    }
    step(&format!("installing {}", missing.join(", ")));
    run(Command::new("apt-get").args(["update", "-qq"]))?;
    let mut install = Command::new("apt-get");
    // The tests start these programs themselves: no service is started by its package.
    install.env("SYSTEMD_OFFLINE", "1");
    install.env("DEBIAN_FRONTEND", "noninteractive").args([
        "install",
        "-y",
        "-qq",
        "--no-install-recommends",
    ]);
    run(install.args(missing))
}

/// Checks that an io_uring executor may lock the memory that it needs.
pub fn check_memlock() -> Outcome {
    let soft = run::output("sh", &["-c", "ulimit -l"]).unwrap_or_default();
    match soft.parse::<u64>() {
        Ok(kib) if kib < MEMLOCK_KIB_MIN => Err(format!(
            "the limit on locked memory is {kib} KiB; each shard needs {MEMLOCK_KIB_MIN}. Raise it with:\n\n    \
             ulimit -l 8192\n"
        )),
        _ => Ok(()),
    }
}

/// A Python with aiortc, Pipecat and PESQ, in a virtual environment under target/. Returns the interpreter.
pub fn ensure_python_peers() -> Result<PathBuf, String> {
    let environment = run::target().join("test-peers").join("python");
    let python = environment.join("bin").join("python");
    if has_python_peers(&python) {
        return Ok(python);
    }
    step("installing aiortc, Pipecat and PESQ");
    run(Command::new("python3")
        .args(["-m", "venv"])
        .arg(&environment))
    .map_err(|error| {
        format!(
            "{error}\nPython's venv module is needed:\n\n    sudo apt-get install -y python3-venv\n"
        )
    })?;
    let wanted = [AIORTC, "websockets==15.0.1", PIPECAT, PESQ[0], PESQ[1]];
    let line = format!(
        "{} -m pip install --quiet --disable-pip-version-check {}",
        python.display(),
        wanted.join(" ")
    );
    run(Command::new(&python)
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ])
        .args(wanted))
    .map_err(|error| missing(&error, &line))?;
    if has_python_peers(&python) {
        Ok(python)
    } else {
        Err(missing("installed, but they can't be imported", &line))
    }
}

/// werift and what it needs, under target/. Returns the directory.
pub fn ensure_werift() -> Result<PathBuf, String> {
    ensure_npm_peer("werift")
}

/// The packages of Twilio and Vapi, under target/. Returns the directory.
pub fn ensure_vendor_peers() -> Result<PathBuf, String> {
    ensure_npm_peer("vendors")
}

/// The packages of one folder of `loadtest/peers`, beside a copy of its lock file.
fn ensure_npm_peer(name: &str) -> Result<PathBuf, String> {
    let directory = run::target().join("test-peers").join(name);
    let wanted = run::root().join("loadtest").join("peers").join(name);
    // npm writes its own record of what it installed last, and only when it is done.
    let installed = directory.join("node_modules").join(".package-lock.json");
    let lock = "package-lock.json";
    let is_current = |file: &Path| {
        let content = |file: &Path| std::fs::read(file).ok();
        content(&directory.join(file)) == content(&wanted.join(file))
    };
    if installed.is_file() && is_current(Path::new(lock)) {
        return Ok(directory);
    }
    step(&format!("installing the packages of peers/{name}"));
    let failed = |error: std::io::Error| format!("{}: {error}", directory.display());
    std::fs::create_dir_all(&directory).map_err(failed)?;
    for file in ["package.json", lock] {
        std::fs::copy(wanted.join(file), directory.join(file)).map_err(failed)?;
    }
    let quiet = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
    let line = format!("npm {} --prefix {}", quiet.join(" "), directory.display());
    run(Command::new("npm")
        .args(quiet)
        .arg("--prefix")
        .arg(&directory))
    .map_err(|error| missing(&error, &line))?;
    Ok(directory)
}

/// A peer that is not here fails the whole command, with the line that installs it.
fn missing(error: &str, line: &str) -> String {
    format!("{error}\nThe tests need these peers. They are installed by:\n\n    {line}\n")
}

fn has_python_peers(python: &Path) -> bool {
    let import = Command::new(python).args(["-c", PYTHON_IMPORTS]).output();
    import.is_ok_and(|output| output.status.success())
}

/// Is `program` on the PATH, or where only root's PATH looks?
pub fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .any(|directory| directory.join(program).is_file())
}

fn is_root() -> bool {
    run::output("id", &["-u"]).as_deref() == Some("0")
}
