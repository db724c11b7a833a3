//! Turns the command line into a node's configuration: embedded, or a replica of a cluster if PostgreSQL and Redis are
//! named.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command};
use placard_node::{
    ClusterStorage, Config, Connections, Redis, RedisTls, ReplicaConfig, Secret, Sentinel, Storage,
    Traces,
};

use crate::access;
use crate::options::cluster::{ClusterOptions, OnStale, PostgresOptions};
use crate::options::serve::{ServeOptions, TraceOptions};
use crate::secrets::{read, secret};

/// The directory in which an embedded server keeps its journal.
pub(crate) const DATA_DIR: &str = "./data";
/// A load balancer that asks for `/readyz` every second has seen two refusals by the end of this delay.
const DRAIN_DELAY: Duration = Duration::from_secs(3);

/// The configuration that the options describe.
pub(crate) fn config(options: ServeOptions) -> anyhow::Result<Config> {
    let ServeOptions {
        listen,
        data_dir,
        drain_delay,
        idle_timeout,
        connections_max,
        admin_listen,
        new_journal: takes_new_journal,
        access,
        cluster,
        of_clusters,
        traces,
    } = options;
    let idle_timeout = Duration::from_secs(idle_timeout);
    let connections = Connections { max: connections_max, idle_timeout };
    let api = access::config(listen, access)?;
    access::require_for_board(admin_listen, &api.access)?;
    let TraceOptions { otlp_endpoint, otlp_sample: sample } = traces;
    let traces = otlp_endpoint.map(|endpoint| Traces { endpoint: endpoint.into(), sample });
    let postgres = postgres_url(&cluster.postgres)?;
    match (postgres, redis(&cluster)?) {
        // A cluster's replica whose URLs are missing or empty must not begin a journal that no other sees.
        (None, None) if !of_clusters.is_empty() => bail!(
            "{} is for a cluster's replicas: name PostgreSQL and Redis too, by --postgres-url and --redis-url, \
             or leave it out",
            of_clusters.join(", ")
        ),
        (None, None) => Ok(Config {
            storage: Storage::Embedded(data_dir.unwrap_or_else(|| PathBuf::from(DATA_DIR))),
            drain_delay: drain_delay.unwrap_or_default(),
            connections,
            api,
            replica: ReplicaConfig { takes_new_journal, ..ReplicaConfig::default() },
            traces,
        }),
        (Some(postgres_url), Some(redis)) => Ok(Config {
            replica: ReplicaConfig {
                address: cluster.advertise.clone().unwrap_or_else(|| reached_at(listen)),
                stream_entries_max: usize::try_from(cluster.stream_max_entries)?,
                refuses_after: (cluster.on_stale == OnStale::Refuse).then_some(cluster.stale_max),
                checkpoint_every: Some(Duration::from_secs(cluster.checkpoint_every)),
                takes_new_journal,
                ..ReplicaConfig::default()
            },
            storage: Storage::Cluster(Box::new(ClusterStorage {
                postgres_url,
                redis,
                redis_tls: redis_tls(&cluster)?,
                checkpoint_dir: data_dir,
                log_kept: Duration::from_secs(cluster.log_keep_hours * 3_600),
                run_migrations: !cluster.no_migrate,
                accept_unsafe_durability: cluster.accept_unsafe_durability,
            })),
            drain_delay: drain_delay.unwrap_or(DRAIN_DELAY),
            connections,
            api,
            traces,
        }),
        (Some(_), None) => {
            bail!(
                "a replica needs Redis beside PostgreSQL: name it by --redis-url or --redis-sentinel"
            )
        }
        (None, Some(_)) => {
            bail!("a replica needs PostgreSQL beside Redis: name it by --postgres-url")
        }
    }
}

/// Logs what was started, so that an operator notices a server that was meant as a replica and has a journal to itself.
pub(crate) fn tell(storage: &Storage) {
    match storage {
        Storage::Embedded(directory) => {
            let whole = std::path::absolute(directory);
            let directory = whole.as_ref().unwrap_or(directory).display();
            tracing::info!(%directory, "embedded: the journal is in a directory of its own");
        }
        Storage::Cluster(_) => {
            tracing::info!("a replica of a cluster: the journal is in PostgreSQL");
        }
    }
}

/// Returns the options of a cluster's replicas that are given, on the command line or in the environment.
pub(crate) fn given(matches: &ArgMatches) -> Vec<String> {
    let is_given = |id: &str| {
        let source = matches.value_source(id);
        source.is_some_and(|source| source != ValueSource::DefaultValue)
    };
    let options = ClusterOptions::augment_args(Command::new("cluster"));
    let given = options.get_arguments().filter(|option| is_given(option.get_id().as_str()));
    given.filter_map(|option| option.get_long()).map(|long| format!("--{long}")).collect()
}

/// The URL of PostgreSQL, if one is given.
pub(crate) fn postgres_url(options: &PostgresOptions) -> anyhow::Result<Option<Secret>> {
    let PostgresOptions { postgres_url, postgres_url_file } = options;
    match postgres_url_file {
        Some(file) => secret("--postgres-url-file", file).map(Some),
        None => Ok(postgres_url.clone()),
    }
}

/// Returns the URL of PostgreSQL, for a command that requires it.
pub(crate) fn required_postgres_url(options: &PostgresOptions) -> anyhow::Result<Secret> {
    postgres_url(options)?.context("name PostgreSQL by --postgres-url or --postgres-url-file")
}

fn redis(options: &ClusterOptions) -> anyhow::Result<Option<Redis>> {
    let from = |option, file: &Option<PathBuf>| {
        file.as_deref().map(|file| secret(option, file)).transpose()
    };
    if let Some(master) = &options.redis_master {
        return Ok(Some(Redis::Sentinel(Sentinel {
            addresses: options.redis_sentinel.clone(),
            master: master.clone(),
            sentinel_username: options.redis_sentinel_user.clone(),
            sentinel_password: from(
                "--redis-sentinel-password-file",
                &options.redis_sentinel_password_file,
            )?,
            username: options.redis_user.clone(),
            password: from("--redis-password-file", &options.redis_password_file)?,
            database: options.redis_database.unwrap_or(0).into(),
            tls: options.redis_ca_file.is_some() || options.redis_cert_file.is_some(),
        })));
    }
    let url = from("--redis-url-file", &options.redis_url_file)?;
    Ok(url.or_else(|| options.redis_url.clone()).map(Redis::Url))
}

fn redis_tls(options: &ClusterOptions) -> anyhow::Result<RedisTls> {
    let from =
        |option, file: &Option<PathBuf>| file.as_deref().map(|file| read(option, file)).transpose();
    let certificate = from("--redis-cert-file", &options.redis_cert_file)?;
    let key = from("--redis-key-file", &options.redis_key_file)?;
    Ok(RedisTls {
        authorities_pem: from("--redis-ca-file", &options.redis_ca_file)?,
        client_pem: certificate.zip(key),
    })
}

/// Returns the address at which others reach this replica, or nothing if that is simply where it listens. A wildcard
/// address would name no replica in particular; the name of the machine or container does.
fn reached_at(listen: SocketAddr) -> String {
    if !listen.ip().is_unspecified() || listen.port() == 0 {
        return String::new();
    }
    let system = rustix::system::uname();
    format!("{}:{}", system.nodename().to_string_lossy(), listen.port())
}
