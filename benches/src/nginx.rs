//! nginx as a floor: a server that does nothing but answer 202, so that the generator is what is measured.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::tool::Pinning;

/// How long it may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(5);

/// A running nginx; dropping it ends it and removes its files.
#[derive(Debug)]
pub struct Nginx {
    child: Child,
    /// The port on 127.0.0.1.
    pub port: u16,
    directory: TempDir,
}

impl Nginx {
    /// Starts one worker on a free port of the loopback interface.
    ///
    /// # Errors
    /// When it does not start; with what it had to say.
    pub fn start(program: &Path, pinning: &Pinning) -> Result<Self> {
        let directory = TempDir::new().context("cannot make a temporary directory")?;
        let port = free_port()?;
        let config = directory.path().join("nginx.conf");
        fs::write(&config, configuration(directory.path(), port)).context("cannot write nginx.conf")?;
        let child = pinning
            .server(program)
            .arg("-p")
            .arg(directory.path())
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(fs::File::create(directory.path().join("stderr"))?)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut nginx = Self { child, port, directory };
        nginx.wait_until_it_listens()?;
        Ok(nginx)
    }

    /// Its process, for those who want to know what it used.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_it_listens(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = self.child.try_wait()?.is_some();
            if ended || Instant::now() > deadline {
                let said = fs::read_to_string(self.directory.path().join("stderr")).unwrap_or_default();
                bail!("nginx does not listen on port {}: {}", self.port, said.trim());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Both only fail when it has ended by itself, which is just as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One process without a master, so that ending the child ends all of it.
fn configuration(directory: &Path, port: u16) -> String {
    let directory = directory.display();
    format!(
        "daemon off;
master_process off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 60s;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{ return 202; }}
    }}
}}
"
    )
}

/// A port that was free a moment ago; nginx cannot be asked to choose one itself.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no free port on 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}
