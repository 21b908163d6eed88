//! This machine: cores, load, memory, disks, network, processes.
//!
//! Names and units follow Prometheus's conventions: base units, `_total` for what only rises. Rates are for
//! whoever reads: a counter survives a missed scrape, a rate does not. By the `sysinfo` library, so that the
//! same code runs on Linux and macOS; only Linux is tested.

use super::{Collected, Collector};
use sysinfo::{Disks, MemoryRefreshKind, Networks, ProcessRefreshKind, ProcessesToUpdate, System};

/// Most devices of one kind that are told of, so that a machine with a thousand mounts stays readable.
const DEVICES_MAX: usize = 64;

/// Reads this machine's counters.
pub struct HostCollector {
    host: String,
    system: System,
    disks: Disks,
    networks: Networks,
}

impl HostCollector {
    /// # Errors
    /// If the operating system gives no figures.
    pub fn new() -> Result<Self, String> {
        let failed = |e: sysinfo::Error| format!("this machine's metrics cannot be read: {e}");
        let mut system = System::new().map_err(failed)?;
        // The first reading of a core has nothing to compare with.
        system.refresh_cpu_usage();
        Ok(Self {
            host: System::host_name().unwrap_or_else(|_| "localhost".to_owned()),
            system,
            disks: Disks::new_with_refreshed_list().map_err(failed)?,
            networks: Networks::new_with_refreshed_list().map_err(failed)?,
        })
    }
}

impl Collector for HostCollector {
    fn collect(&mut self) -> Result<Vec<Collected>, String> {
        self.system.refresh_cpu_usage();
        self.system.refresh_memory_specifics(MemoryRefreshKind::everything());
        // Counting is enough: nothing is read of each process.
        self.system.refresh_processes_specifics(
            ProcessesToUpdate::All,
            true,
            ProcessRefreshKind::nothing().without_tasks(),
        );
        self.disks.refresh(true);
        self.networks.refresh(true);
        let mut out = Samples { host: &self.host, all: Vec::new() };
        cpu(&self.system, &mut out);
        memory(&self.system, &mut out);
        disks(&self.disks, &mut out);
        networks(&self.networks, &mut out);
        out.add("host_processes", &[], self.system.processes().len() as f64);
        if let Ok(seconds) = System::uptime() {
            out.add("host_uptime_seconds", &[], seconds as f64);
        }
        Ok(out.all)
    }
}

struct Samples<'h> {
    host: &'h str,
    all: Vec<Collected>,
}

impl Samples<'_> {
    fn add(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels = labels.iter().copied().chain([("host", self.host)]);
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        self.all.push(Collected { name: name.to_owned(), labels, value, timestamp: None });
    }
}

fn cpu(system: &System, out: &mut Samples<'_>) {
    for (core, cpu) in system.cpus().iter().enumerate() {
        out.add("host_cpu_busy_ratio", &[("core", &core.to_string())], f64::from(cpu.usage()) / 100.0);
    }
    if let Ok(load) = System::load_average() {
        for (name, value) in
            [("host_load1", load.one), ("host_load5", load.five), ("host_load15", load.fifteen)]
        {
            out.add(name, &[], value);
        }
    }
}

fn memory(system: &System, out: &mut Samples<'_>) {
    for (name, bytes) in [
        ("host_memory_total_bytes", system.total_memory()),
        ("host_memory_used_bytes", system.used_memory()),
        ("host_memory_available_bytes", system.available_memory()),
        ("host_swap_total_bytes", system.total_swap()),
        ("host_swap_used_bytes", system.used_swap()),
    ] {
        out.add(name, &[], bytes as f64);
    }
}

fn disks(disks: &Disks, out: &mut Samples<'_>) {
    let mut devices = Vec::new();
    for disk in disks.iter().filter(|d| d.total_space() > 0).take(DEVICES_MAX) {
        let (device, mount) = (disk.name().to_string_lossy(), disk.mount_point().to_string_lossy());
        let labels = [("device", device.as_ref()), ("mount", mount.as_ref())];
        out.add("host_filesystem_size_bytes", &labels, disk.total_space() as f64);
        out.add("host_filesystem_available_bytes", &labels, disk.available_space() as f64);
        // A device that is mounted twice has its own counters once.
        if !devices.contains(&device) {
            let usage = disk.usage();
            out.add("host_disk_read_bytes_total", &[("device", &device)], usage.total_read_bytes as f64);
            out.add(
                "host_disk_written_bytes_total",
                &[("device", &device)],
                usage.total_written_bytes as f64,
            );
            devices.push(device);
        }
    }
}

fn networks(networks: &Networks, out: &mut Samples<'_>) {
    let mut sorted: Vec<_> = networks.iter().collect();
    sorted.sort_by_key(|(device, _)| *device);
    for (device, network) in sorted.into_iter().take(DEVICES_MAX) {
        let device = device.to_string_lossy();
        out.add("host_network_receive_bytes_total", &[("device", &device)], network.total_received() as f64);
        out.add(
            "host_network_transmit_bytes_total",
            &[("device", &device)],
            network.total_transmitted() as f64,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_cores_memory_and_processes() {
        let samples = HostCollector::new().unwrap().collect().unwrap();
        let value = |name: &str| samples.iter().find(|s| s.name == name).map(|s| s.value);
        assert!(value("host_memory_total_bytes").unwrap() > 0.0);
        assert!(value("host_memory_available_bytes").unwrap() <= value("host_memory_total_bytes").unwrap());
        assert!(value("host_processes").unwrap() >= 1.0);
        let cores: Vec<_> = samples.iter().filter(|s| s.name == "host_cpu_busy_ratio").collect();
        assert_eq!(cores.len(), std::thread::available_parallelism().unwrap().get().max(cores.len()));
        assert!(cores.iter().all(|c| (0.0..=1.0).contains(&c.value)));
        assert!(
            samples.iter().all(|s| s.labels.iter().any(|(name, value)| name == "host" && !value.is_empty()))
        );
    }
}
