//! The series of one process, and the addresses they name.

use std::borrow::Cow;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::exemplars::Reading;
use super::origin::Origin;
use super::records::HttpSeries;
use super::rpc;
use super::series::{each_mut, Recording, Series, SeriesFields, SeriesKey};
use crate::exchange::Role;
use crate::otlp::{Call, Kind, Template};
use crate::routes::{RouteId, Router};

/// Numbers of the overflow series, from here on.
const OVERFLOW: u32 = u32::MAX - 3;
/// Number of an address beyond the limit.
const ADDRESS_OVERFLOW: u32 = u32::MAX;

/// At most `max_series` series, as many addresses, and overflow series: HTTP's and gRPC's for each role.
#[derive(Debug)]
pub struct SeriesStore {
    max_series: usize,
    recording: Recording,
    series: Vec<Series>,
    index: FxHashMap<SeriesKey, u32>,
    overflow: [Option<Box<Series>>; 4],
    /// Numbered from 1.
    addresses: Vec<(Arc<str>, u16)>,
    address_index: FxHashMap<Origin, u32>,
}

impl SeriesStore {
    pub fn new(max_series: usize, recording: Recording) -> Self {
        Self {
            max_series,
            recording,
            series: Vec::new(),
            index: FxHashMap::default(),
            overflow: Default::default(),
            addresses: Vec::new(),
            address_index: FxHashMap::default(),
        }
    }

    pub fn len(&self) -> usize {
        self.series.len() + self.overflow.iter().flatten().count()
    }

    /// The number of the series of these fields, beyond the limit that of the overflow series.
    pub fn number_of(&mut self, key: SeriesKey, fields: &SeriesFields, start_unix_ns: u64) -> u32 {
        if let Some(number) = self.index.get(&key) {
            return *number;
        }
        if self.series.len() < self.max_series && fields.address != ADDRESS_OVERFLOW {
            let number = self.series.len() as u32;
            self.series
                .push(Series::new(*fields, start_unix_ns, self.recording));
            self.index.insert(key, number);
            return number;
        }
        let place = usize::from(fields.role == Role::Client) + 2 * usize::from(fields.is_rpc());
        self.overflow[place]
            .get_or_insert_with(|| Box::new(Series::new(*fields, start_unix_ns, self.recording)));
        OVERFLOW + place as u32
    }

    /// A series by a number that `number_of` gave.
    #[inline]
    pub fn get(&mut self, number: u32) -> Option<&mut Series> {
        match number.checked_sub(OVERFLOW) {
            Some(place) => self.overflow[place as usize].as_deref_mut(),
            None => self.series.get_mut(number as usize),
        }
    }

    /// Whether a number is one series' own, and no overflow series'.
    pub fn is_one(number: u32) -> bool {
        number < OVERFLOW
    }

    /// What a span of these fields shares with all of its kind, encoded: remembered in the series, unless it
    /// is an overflow series, whose spans have little in common.
    #[inline]
    pub fn template(
        &mut self,
        number: u32,
        fields: &SeriesFields,
        router: &Router,
    ) -> Cow<'_, [u8]> {
        match self.series.get_mut(number as usize) {
            Some(series) => {
                if series.template.is_empty() {
                    series.template = template(fields, router).into();
                }
                Cow::Borrowed(&series.template)
            }
            None => Cow::Owned(template(fields, router)),
        }
    }

    /// The number of an address, to be had in `SeriesFields::address`.
    pub fn address_of(&mut self, origin: &Origin) -> u32 {
        if let Some(number) = self.address_index.get(origin) {
            return *number;
        }
        if self.addresses.len() >= self.max_series {
            return ADDRESS_OVERFLOW;
        }
        self.addresses
            .push((Arc::from(&*origin.address), origin.port));
        let number = self.addresses.len() as u32;
        self.address_index.insert(origin.clone(), number);
        number
    }

    /// An interval is over.
    pub fn begin_interval(&mut self) {
        for series in each_mut(&mut self.series, &mut self.overflow) {
            series.exemplars.begin_interval();
        }
    }

    pub fn read(
        &self,
        process_key: u64,
        router: &Router,
        which: Reading,
        out: &mut Vec<HttpSeries>,
    ) {
        let none: Arc<str> = "".into();
        let bare = |series: &Series| {
            let (duration, [request_body, response_body]) = series.read(which);
            HttpSeries {
                process_key,
                role: series.fields.role,
                start_unix_ns: series.start_unix_ns,
                rpc_system: if series.fields.is_rpc() {
                    rpc::SYSTEM
                } else {
                    ""
                },
                rpc_method: none.clone(),
                rpc_status: "".into(),
                method: "",
                scheme: "",
                route: none.clone(),
                status: 0,
                error_type: none.clone(),
                protocol_version: "",
                server_address: none.clone(),
                server_port: 0,
                overflow: true,
                duration,
                request_body,
                response_body,
            }
        };
        out.extend(self.series.iter().map(|series| {
            let fields = &series.fields;
            let address = fields
                .address
                .checked_sub(1)
                .map(|i| &self.addresses[i as usize]);
            let error_type = fields.error_type();
            let row = HttpSeries {
                error_type: if error_type.is_empty() {
                    none.clone()
                } else {
                    error_type.into()
                },
                server_address: address.map_or(&none, |address| &address.0).clone(),
                server_port: address.map_or(0, |address| address.1),
                overflow: false,
                ..bare(series)
            };
            if fields.is_rpc() {
                return HttpSeries {
                    rpc_method: rpc::name(router, fields.route),
                    rpc_status: fields.status_text(),
                    ..row
                };
            }
            HttpSeries {
                method: fields.method.as_str(),
                scheme: fields.scheme(),
                route: router.name(fields.route).clone(),
                status: fields.status,
                protocol_version: fields.protocol_version(),
                ..row
            }
        }));
        out.extend(self.overflow.iter().flatten().map(|series| bare(series)));
    }
}

/// Span.name.
pub fn span_name(fields: &SeriesFields, router: &Router) -> String {
    let route = router.name(fields.route);
    match (fields.is_rpc(), fields.route) {
        (true, RouteId::UNSET) => rpc::SYSTEM.into(),
        (true, _) => String::from(&**route),
        (false, _) if route.is_empty() => fields.method.in_name().into(),
        (false, _) => format!("{} {route}", fields.method.in_name()),
    }
}

#[cold]
fn template(fields: &SeriesFields, router: &Router) -> Vec<u8> {
    let kind = match fields.role {
        Role::Server => Kind::Server,
        Role::Client => Kind::Client,
    };
    let error_type = &fields.error_type();
    if fields.is_rpc() {
        let method = &rpc::name(router, fields.route);
        return Template {
            name: &span_name(fields, router),
            kind,
            call: Call::Rpc {
                system: rpc::SYSTEM,
                method,
                status: &fields.status_text(),
            },
            error_type,
        }
        .encode();
    }
    let route = router.name(fields.route);
    Template {
        name: &span_name(fields, router),
        kind,
        call: Call::Http {
            method: fields.method.as_str(),
            scheme: fields.scheme(),
            route,
            status: fields.status,
            protocol_version: fields.protocol_version(),
        },
        error_type,
    }
    .encode()
}
