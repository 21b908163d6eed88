//! Any endpoint in Prometheus's text format: fetched, parsed, told on.

use super::{Collected, Collector, exposition};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(10);
/// The largest page that is read.
const PAGE_BYTES_MAX: u64 = 64 << 20;

/// Fetches a URL at each collection.
pub struct ScrapeCollector {
    url: String,
    /// Added to every sample, as Prometheus does.
    labels: Vec<(String, String)>,
    agent: ureq::Agent,
}

impl ScrapeCollector {
    /// A collector of `url`; its samples get the labels `job` and `instance`.
    ///
    /// # Errors
    /// If that is no `http://` URL.
    pub fn new(url: &str, job: &str) -> Result<Self, String> {
        let rest = url.strip_prefix("http://").filter(|rest| !rest.is_empty());
        let rest = rest.ok_or_else(|| {
            format!("{url:?} is no URL that can be scraped; expected http://HOST:PORT/PATH")
        })?;
        let instance = rest.split(['/', '?']).next().unwrap_or_default();
        if instance.contains('@') {
            // It would become a label of every sample, and stand in every log.
            return Err("a URL to scrape may not hold a user name or a password".to_owned());
        }
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            .proxy(None)
            .build()
            .new_agent();
        let labels = vec![("job".to_owned(), job.to_owned()), ("instance".to_owned(), instance.to_owned())];
        Ok(Self { url: url.to_owned(), labels, agent })
    }
}

impl ScrapeCollector {
    /// As Prometheus: a scraped label that collides with ours keeps its value under another name.
    fn make_room(&self, labels: &mut [(String, String)]) {
        for at in 0..labels.len() {
            let collides = |name: &str| self.labels.iter().any(|(ours, _)| ours == name);
            while collides(&labels[at].0) || labels[..at].iter().any(|(other, _)| *other == labels[at].0) {
                labels[at].0.insert_str(0, "exported_");
            }
        }
    }
}

impl Collector for ScrapeCollector {
    fn collect(&mut self) -> Result<Vec<Collected>, String> {
        let failed = |e: ureq::Error| format!("{}: {e}", self.url);
        let request = self.agent.get(&self.url).header("Accept", "text/plain;version=0.0.4");
        let mut response = request.call().map_err(failed)?;
        if response.status().as_u16() != 200 {
            return Err(format!("{} answered {}", self.url, response.status()));
        }
        let text =
            response.body_mut().with_config().limit(PAGE_BYTES_MAX).read_to_string().map_err(failed)?;
        let mut samples = exposition::parse(&text).map_err(|e| format!("{}: {e}", self.url))?;
        for sample in &mut samples {
            self.make_room(&mut sample.labels);
            sample.labels.extend(self.labels.iter().cloned());
        }
        Ok(samples)
    }
}
