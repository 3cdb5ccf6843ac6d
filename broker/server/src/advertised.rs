//! What clients are told of this broker: its failure domain, and where each of its listeners is reached.
//!
//! The flags are what a registration asks for. What the controller says overrides them, in its answer and later: in
//! Kubernetes it knows better than the pod.

use taffrail_control::session::{BrokerRecord, Endpoint, Registration};

/// What clients are told of this broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertised {
    /// The failure domain.
    pub rack: Option<String>,
    /// By listener.
    pub endpoints: Vec<Endpoint>,
}

impl Advertised {
    /// What the flags ask for.
    pub fn asked_for(registration: &Registration) -> Self {
        Self { rack: registration.rack.clone(), endpoints: registration.endpoints.clone() }
    }

    /// What a record says.
    pub fn in_record(record: &BrokerRecord) -> Self {
        Self { rack: record.rack.clone(), endpoints: record.endpoints.clone() }
    }

    /// What a person should know when this takes the place of `before` on a broker with these `listeners`.
    pub fn news(&self, before: &Self, listeners: &[String]) -> Vec<String> {
        let mut news = Vec::new();
        if self.rack != before.rack {
            let named = |rack: &Option<String>| rack.clone().unwrap_or_else(|| "none".to_owned());
            news.push(format!(
                "the rack is {} from now on, by the controller's word; it was {}",
                named(&self.rack),
                named(&before.rack)
            ));
        }
        if self.endpoints == before.endpoints {
            return news;
        }
        let of = |endpoints: &[Endpoint], name: &str| endpoints.iter().find(|e| e.listener == name).cloned();
        for name in listeners {
            match of(&self.endpoints, name) {
                now if now == of(&before.endpoints, name) => {}
                Some(Endpoint { host, port, .. }) => news.push(format!(
                    "clients of listener {name} are told {host}:{port} from now on, by the controller's word"
                )),
                None => news.push(format!(
                    "the controller tells clients of no address for listener {name}: those that connect there do not \
                     find this broker"
                )),
            }
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advertised(rack: &str, endpoints: &[(&str, u16)]) -> Advertised {
        let endpoint = |(listener, port): &(&str, u16)| Endpoint {
            listener: (*listener).to_owned(),
            host: "host".to_owned(),
            port: *port,
        };
        let rack = (!rack.is_empty()).then(|| rack.to_owned());
        Advertised { rack, endpoints: endpoints.iter().map(endpoint).collect() }
    }

    #[test]
    fn only_what_is_another_now_is_news() {
        let listeners = ["A".to_owned(), "B".to_owned()];
        let before = advertised("a", &[("A", 1), ("B", 2)]);
        assert_eq!(before.news(&before, &listeners), [] as [String; 0]);
        let other = advertised("", &[("B", 3)]);
        assert_eq!(
            other.news(&before, &listeners),
            [
                "the rack is none from now on, by the controller's word; it was a",
                "the controller tells clients of no address for listener A: those that connect there do not find this \
                 broker",
                "clients of listener B are told host:3 from now on, by the controller's word",
            ]
        );
    }
}
