//! `egressway-proxy`: arguments, runtime, signals, exit code; everything else is in the library.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use egressway_proxy::admin::LogLevel;
use egressway_proxy::alone::Refused;
use egressway_proxy::app::App;
use egressway_proxy::args::{Args, Command};
use egressway_proxy::forward_client::ForwardClient;
use egressway_proxy::log_filter;
use egressway_proxy::observer::Observer;
use egressway_proxy::own_log::OwnLog;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// musl's allocator takes one lock for all threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Environment variable with the log level of the process's own lines, which go to standard error.
const ENV_LOG: &str = "EGRESSWAY_LOG";

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(Command::Verify(verify)) = &args.command {
        return verify.main();
    }
    let lines = match &args.command {
        None if args.fleet.policy.is_some() || args.fleet.has_nothing_to_enforce() => Lines::ForPeople,
        None | Some(Command::Observer(_)) => Lines::ForMachines,
        Some(Command::Check(_) | Command::Forward(_) | Command::Convert(_) | Command::Verify(_)) => {
            Lines::ForPeople
        }
    };
    let own_log = match OwnLog::start() {
        Ok(own_log) => own_log,
        Err(error) => {
            eprintln!("egressway-proxy: failed to start the thread that writes to standard error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let asks = matches!(&args.command, Some(Command::Check(_) | Command::Convert(_)));
    let log_level = log(lines, &own_log);
    let code = match run(args, log_level, &own_log) {
        Ok(code) => code,
        Err(error) => {
            fail(lines, &own_log, &error);
            // What only answers a question has 1 for "no".
            if asks {
                ExitCode::from(2)
            } else {
                ExitCode::FAILURE
            }
        }
    };
    own_log.flush();
    code
}

/// Who reads the process's own lines: of a pod a collector, of a proxy that runs alone whoever started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lines {
    ForMachines,
    ForPeople,
}

fn log(lines: Lines, own_log: &OwnLog) -> LogLevel {
    let wanted = std::env::var(ENV_LOG).unwrap_or_default();
    let (filter, problem) = match log_filter::parse(&wanted) {
        Ok(filter) => (filter, None),
        Err(problem) => (EnvFilter::new("info"), Some(problem)),
    };
    let own_lines = tracing_subscriber::fmt().with_writer(own_log.clone());
    let level = match lines {
        Lines::ForMachines => {
            let own_lines = own_lines
                .json()
                .flatten_event(true)
                .with_env_filter(filter)
                .with_filter_reloading();
            let handle = own_lines.reload_handle();
            own_lines.init();
            LogLevel::new(move |filter| handle.reload(filter).map_err(|error| error.to_string()))
        }
        Lines::ForPeople => {
            let own_lines = own_lines
                .with_target(false)
                .with_ansi(false)
                .with_env_filter(filter)
                .with_filter_reloading();
            let handle = own_lines.reload_handle();
            own_lines.init();
            LogLevel::new(move |filter| handle.reload(filter).map_err(|error| error.to_string()))
        }
    };
    // The usual one writes to standard error itself, and waits for it.
    std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "a task panicked")));
    if let Some(problem) = problem {
        tracing::warn!(problem, "EGRESSWAY_LOG is ignored, the level is info");
    }
    level
}

fn fail(lines: Lines, own_log: &OwnLog, error: &anyhow::Error) {
    let refused = error.chain().find_map(|cause| cause.downcast_ref::<Refused>());
    match (lines, refused) {
        (Lines::ForPeople, Some(refused)) => {
            for problem in refused.list() {
                own_log.say(problem);
            }
        }
        (Lines::ForPeople, None) => own_log.say(format_args!("egressway-proxy: {error:#}")),
        (Lines::ForMachines, _) => {
            tracing::error!(error = format!("{error:#}"), "egressway-proxy ends");
        }
    }
}

/// The control side; the data path has threads of its own.
#[tokio::main(flavor = "current_thread")]
async fn run(args: Args, log_level: LogLevel, own_log: &OwnLog) -> anyhow::Result<ExitCode> {
    // Nobody else in this process installs one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match args.command {
        None => {
            // Signals come after it: what it waits for may be a terminal, whose owner may give up.
            let app = App::bind(args.fleet)?
                .with_log_level(log_level)
                .with_own_log(own_log.clone());
            let mut signals = Signals::new()?;
            let (first, second) = (CancellationToken::new(), CancellationToken::new());
            let count = async {
                signals.next().await;
                first.cancel();
                signals.next().await;
                second.cancel();
                std::future::pending::<()>().await;
            };
            let app = app.run(first.cancelled(), second.cancelled());
            tokio::select! {
                ended = app => ended?,
                () = count => {}
            }
        }
        Some(Command::Verify(_)) => {}
        Some(Command::Observer(observer)) => {
            let mut signals = Signals::new()?;
            let stop = CancellationToken::new();
            let served = Observer::bind(&observer)?.run(stop.clone());
            tokio::select! {
                ended = served => ended.context("the observer ended")?,
                () = signals.next() => {}
            }
        }
        Some(Command::Forward(forward)) => {
            let mut signals = Signals::new()?;
            let (first, second) = (CancellationToken::new(), CancellationToken::new());
            let served = ForwardClient::bind(&forward, own_log)?.run(first.clone(), second.clone());
            let mut served = std::pin::pin!(served);
            for token in [&first, &second] {
                tokio::select! {
                    () = &mut served => return Ok(ExitCode::SUCCESS),
                    () = signals.next() => token.cancel(),
                }
            }
            served.await;
        }
        Some(Command::Convert(convert)) => egressway_proxy::convert::run(&convert)?,
        Some(Command::Check(question)) => return egressway_proxy::check::run(question).await,
    }
    Ok(ExitCode::SUCCESS)
}

/// Those that end the process, and those that would for want of a meaning: people send them who know nginx or HAProxy.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    user_1: Signal,
    user_2: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("failed to listen for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            quit: listen(SignalKind::quit())?,
            user_1: listen(SignalKind::user_defined1())?,
            user_2: listen(SignalKind::user_defined2())?,
        })
    }

    /// One that ends.
    async fn next(&mut self) {
        loop {
            let signal = tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.quit.recv() => return,
                _ = self.user_1.recv() => "SIGUSR1",
                _ = self.user_2.recv() => "SIGUSR2",
            };
            tracing::info!(signal, "ignored: SIGTERM ends, SIGHUP reads everything again");
        }
    }
}
