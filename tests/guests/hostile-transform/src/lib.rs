//! A transformer that does as its settings say, so that the tests see what the host makes of it.

use millrace_plugin::{Message, Refusal, Transformed, Transformer};

/// The plugin.
#[derive(Debug)]
pub struct HostileTransform {
    settings: Settings,
}

millrace_plugin::settings! {
    /// Its settings.
    pub struct Settings {
        /// What it does.
        mode: Mode = Mode::Mark,
        /// Bytes of the body that `cut` leaves out at its beginning.
        bytes: usize = 4,
        /// The destination whose results `skip-destination` leaves out.
        destination: String = "copies".to_owned(),
        /// What `mark` adds to the body and to the header `mark`.
        text: String = "!".to_owned(),
    }
}

millrace_plugin::choice! {
    /// What it does.
    pub enum Mode {
        /// Adds its text to the body and to the header `mark`.
        Mark = "mark",
        /// Leaves out the beginning of the body.
        Cut = "cut",
        /// Makes a text of what it sees beside the body.
        Tell = "tell",
        /// Leaves out the results of one destination.
        SkipDestination = "skip-destination",
        /// Needs no result.
        Skip = "skip",
        /// Rejects.
        Reject = "reject",
        /// Asks for another attempt.
        Retry = "retry",
        /// Panics.
        Panic = "panic",
        /// Never returns.
        Loop = "loop",
        /// Makes a body of 9 MiB.
        Huge = "huge",
        /// Sets a header that is the host's.
        ReservedHeader = "reserved-header",
    }
}

impl Transformer for HostileTransform {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, String> {
        Ok(Self { settings })
    }

    fn transform(&mut self, message: &Message) -> Result<Transformed, Refusal> {
        let same = || same(message, message.body());
        match self.settings.mode {
            Mode::Mark => {
                let mut body = message.body();
                body.extend(self.settings.text.bytes());
                let mark = message.header("mark").unwrap_or_default() + &self.settings.text;
                let mut made = Transformed::new(body).with_header("mark", mark);
                made.content_type = message.content_type();
                Ok(made)
            }
            Mode::Cut => Ok(self::same(message, message.body().split_off(self.settings.bytes))),
            Mode::Tell => Ok(Transformed::new(format!(
                "{} {} {} {:?}",
                message.id(),
                message.key(),
                message.attempt(),
                message.correlation_id(),
            ))),
            Mode::SkipDestination if message.key() != self.settings.destination => Ok(same()),
            Mode::Skip | Mode::SkipDestination => Err(Refusal::skip("the hostile transformer skips")),
            Mode::Reject => Err(Refusal::reject("the hostile transformer rejects")),
            Mode::Retry => Err(Refusal::retry("the hostile transformer wants another attempt")),
            #[expect(clippy::panic, reason = "what it is there for")]
            Mode::Panic => panic!("the hostile transformer panics"),
            Mode::Loop => loop {
                std::hint::black_box(());
            },
            Mode::Huge => Ok(Transformed::new(vec![0; 9 << 20])),
            Mode::ReservedHeader => Ok(same().with_header("x-millrace-model", "mine")),
        }
    }
}

fn same(message: &Message, body: Vec<u8>) -> Transformed {
    let mut made = Transformed::new(body).with_headers_of(message);
    made.content_type = message.content_type();
    made
}

millrace_plugin::export_transformer!(HostileTransform);
