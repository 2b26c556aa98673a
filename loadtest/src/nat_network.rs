//! A gateway behind NAT, in network namespaces of its own (Linux, root only): callers outside, a router, the gateway inside.
//!
//! ```text
//!  outside 203.0.113.10 ---- 203.0.113.1 router 10.77.0.1 ---- 10.77.0.2 inside
//! ```
//!
//! The router sends what comes for its outside address on to the gateway (nftables DNAT), and can lose things. Nothing leaves
//! the namespaces; dropping the network removes them.

use std::fs::File;
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use thiserror::Error;

/// Where callers are (RFC 5737).
pub const CALLER_IP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// What callers reach: the router's address, and the gateway's behind it.
pub const OUTSIDE_IP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// The router's address on the gateway's side.
const ROUTER_IP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The address that the gateway's sockets have; nobody outside has a route to it.
pub const INSIDE_IP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

/// The forward chain is where things get lost.
const CHAIN: [&str; 3] = ["inet", "firewall", "forward"];

/// Why there is no such network.
#[derive(Debug, Error)]
pub enum NatNetworkError {
    /// Somebody else than root asked.
    #[error(
        "network namespaces need root: run the tests as root, or leave this one out with --skip dnat"
    )]
    NotRoot,
    /// A program is not installed.
    #[error("{0} does not start: {1}; install it with: apt-get install -y {2}")]
    NotInstalled(&'static str, io::Error, &'static str),
    /// A command failed.
    #[error("{command}: {stderr}")]
    Command {
        /// What was run.
        command: String,
        /// What it said.
        stderr: String,
    },
    /// A namespace can't be entered.
    #[error("entering a namespace: {0}")]
    Enter(io::Error),
}

/// Three namespaces and what connects them.
pub struct NatNetwork {
    outside: Namespace,
    router: Namespace,
    inside: Namespace,
}

impl NatNetwork {
    /// Makes the namespaces; everything gets through.
    ///
    /// # Errors
    /// [`NatNetworkError`]
    pub fn new() -> Result<Self, NatNetworkError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // SAFETY: takes nothing and can't fail.
        if unsafe { libc::geteuid() } != 0 {
            return Err(NatNetworkError::NotRoot);
        }
        // Tests of one process run beside each other.
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = |place: &str| format!("clutchcall-{}-{count}-{place}", std::process::id());
        let network = Self {
            outside: Namespace::new(name("outside"))?,
            router: Namespace::new(name("router"))?,
            inside: Namespace::new(name("inside"))?,
        };
        let Self {
            outside,
            router,
            inside,
        } = &network;
        outside.connect(router, "outside", [CALLER_IP, OUTSIDE_IP])?;
        inside.connect(router, "inside", [INSIDE_IP, ROUTER_IP])?;
        let gateway = ROUTER_IP.to_string();
        inside.ip(&["route", "add", "default", "via", &gateway])?;
        router
            .enter(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1"))?
            .map_err(NatNetworkError::Enter)?;
        router.nft(&format!(
            "table ip nat {{\n chain prerouting {{\n type nat hook prerouting priority dstnat;\n\
             iifname \"outside\" ip daddr {OUTSIDE_IP} dnat to {INSIDE_IP};\n }}\n }}\n\
             table inet firewall {{\n chain forward {{\n type filter hook forward priority filter;\n }}\n }}\n"
        ))?;
        Ok(network)
    }

    /// Runs `work` among the callers: the sockets that it opens are there, whoever uses them later.
    ///
    /// # Errors
    /// The namespace can't be entered.
    pub fn outside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NatNetworkError> {
        self.outside.enter(work)
    }

    /// Runs `work` where the gateway is.
    ///
    /// # Errors
    /// The namespace can't be entered.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NatNetworkError> {
        self.inside.enter(work)
    }

    /// From now on the router drops UDP to this port of the gateway.
    ///
    /// # Errors
    /// nftables refuses.
    pub fn block_udp_port(&self, port: u16) -> Result<(), NatNetworkError> {
        let [family, table, chain] = CHAIN;
        self.router.nft(&format!(
            "add rule {family} {table} {chain} udp dport {port} counter drop\n"
        ))
    }

    /// From now on the router drops everything, both ways.
    ///
    /// # Errors
    /// nftables refuses.
    pub fn cut(&self) -> Result<(), NatNetworkError> {
        let [family, table, chain] = CHAIN;
        self.router
            .nft(&format!("add rule {family} {table} {chain} counter drop\n"))
    }

    /// How many packets the router has dropped since it last let everything through.
    ///
    /// # Errors
    /// nftables refuses.
    pub fn dropped(&self) -> Result<u64, NatNetworkError> {
        let list = [&["list", "chain"][..], &CHAIN].concat();
        let rules = self.router.enter(|| run("nft", "nftables", &list, ""))??;
        // As in `udp dport 10000 counter packets 12 bytes 1200 drop`.
        let counters = rules.split("counter packets ").skip(1);
        let counts =
            counters.filter_map(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        Ok(counts.sum())
    }

    /// From now on everything gets through again.
    ///
    /// # Errors
    /// nftables refuses.
    pub fn mend(&self) -> Result<(), NatNetworkError> {
        let [family, table, chain] = CHAIN;
        self.router
            .nft(&format!("flush chain {family} {table} {chain}\n"))
    }
}

/// A named network namespace.
struct Namespace(String);

impl Namespace {
    fn new(name: String) -> Result<Self, NatNetworkError> {
        run("ip", "iproute2", &["netns", "add", &name], "")?;
        let namespace = Self(name);
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// A cable from `eth0` here to `name` at `router`, with their addresses.
    fn connect(
        &self,
        router: &Self,
        name: &str,
        [here, there]: [Ipv4Addr; 2],
    ) -> Result<(), NatNetworkError> {
        let cable = [
            "link", "add", "eth0", "type", "veth", "peer", "name", name, "netns",
        ];
        self.ip(&[&cable[..], &[&router.0]].concat())?;
        for (namespace, interface, ip) in [(self, "eth0", here), (router, name, there)] {
            namespace.ip(&["address", "add", &format!("{ip}/24"), "dev", interface])?;
            namespace.ip(&["link", "set", interface, "up"])?;
        }
        Ok(())
    }

    fn ip(&self, arguments: &[&str]) -> Result<(), NatNetworkError> {
        let arguments = [&["-n", &self.0], arguments].concat();
        run("ip", "iproute2", &arguments, "").map(drop)
    }

    fn nft(&self, rules: &str) -> Result<(), NatNetworkError> {
        self.enter(|| run("nft", "nftables", &["-f", "-"], rules).map(drop))?
    }

    /// Runs `work` in a thread of this namespace; what it spawns, threads and processes, is in it as well.
    fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NatNetworkError> {
        let namespace =
            File::open(format!("/run/netns/{}", self.0)).map_err(NatNetworkError::Enter)?;
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                // SAFETY: changes the calling thread only, which ends with `work`; the descriptor is open.
                if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
                    return Err(NatNetworkError::Enter(io::Error::last_os_error()));
                }
                Ok(work())
            });
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // What is still open in it keeps it alive without a name; the cables go with it.
        let _ = run("ip", "iproute2", &["netns", "delete", &self.0], "");
    }
}

/// Runs a program to its end; what it said.
fn run(
    program: &'static str,
    package: &'static str,
    arguments: &[&str],
    input: &str,
) -> Result<String, NatNetworkError> {
    let missing = |error| NatNetworkError::NotInstalled(program, error, package);
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(missing)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read says why by its status.
        let _ = stdin.write_all(input.as_bytes());
    }
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().map_err(missing)?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    Err(NatNetworkError::Command {
        command: format!("{program} {} ({status})", arguments.join(" ")),
        stderr: String::from_utf8_lossy(&stderr).trim().to_owned(),
    })
}
