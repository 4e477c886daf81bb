//! JPEG, decoded to the samples of libjpeg-turbo as Pillow uses it: the accurate transform, the "fancy" upsampling, the
//! colours in its fixed point. What libjpeg guesses at, and what is not complete, is refused.
//!
//! A decoder of our own, because none in Rust gives these numbers for every layout and says whether all of a picture was
//! there: one that conceals damage, as libjpeg does, makes a picture of half a file.

mod bits;
mod colour;
mod frame;
mod huffman;
mod idct;
mod layers;
mod marker;
mod metadata;
mod rows;
mod scan;
mod tables;

use super::{Decoder as Options, Format, ImageError, Picture};
use colour::Colours;
use frame::Frame;
use layers::Layers;
use marker::{Marker, Markers};
use metadata::Metadata;
use rows::Rows;
use scan::Scan;
use tables::Tables;

/// The most scans of a picture: a progressive one has ten or so. Each one costs a walk through all coefficients, however few bytes it has.
const SCANS_MAX: usize = 100;

/// Why the coded data of a scan are no picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    /// The file ends in them.
    End,
    /// They end before their picture does.
    Short,
    /// They go on behind their picture.
    Left,
    /// Bits that are no code of their table.
    Code,
    /// A code that has no meaning where it stands, or a coefficient that no picture has.
    Sense,
    /// Coefficients that together make samples far beyond black and white.
    Range,
    /// The marker that divides a scan is missing, or is another one.
    Restart,
}

impl From<Damage> for ImageError {
    fn from(damage: Damage) -> Self {
        match damage {
            Damage::End => truncated("the end of the picture is missing"),
            Damage::Short => broken("whose coded data end before its picture does"),
            Damage::Left => broken("with coded data behind the end of its picture"),
            Damage::Code => broken("with damaged data: they hold bits that are no code"),
            Damage::Sense => broken("with damaged data: they hold a coefficient that cannot be"),
            Damage::Range => broken("with damaged data: they hold samples that are far beyond black and white"),
            Damage::Restart => broken("with damaged data: a restart marker is missing or out of turn"),
        }
    }
}

fn broken(what: impl Into<String>) -> ImageError {
    ImageError::broken(Format::Jpeg, what)
}

fn truncated(what: &'static str) -> ImageError {
    ImageError::Truncated {
        format: Format::Jpeg,
        what,
    }
}

/// Decodes a JPEG. What is behind its end marker is no part of it.
pub(crate) fn decode(body: &[u8], options: &Options) -> Result<Picture, ImageError> {
    let mut file = File::new(body);
    let scan = match file.next_scan()? {
        Some(scan) => scan,
        None => return Err(broken("without a picture")),
    };
    let frame = file.frame.take().ok_or_else(|| broken("without a frame header"))?;
    options.limits.check_size(frame.width, frame.height)?;
    let colours = Colours::of(&frame, &file.metadata);
    let scan = Scan::new(scan, &frame)?;
    let at_once = !frame.progressive && scan.n_components() == frame.components.len();
    let kept = if at_once { 0 } else { frame.coefficient_bytes() };
    options.limits.check_bytes(
        frame
            .pixel_bytes()
            .saturating_add(frame.row_bytes())
            .saturating_add(kept),
    )?;

    let mut rows = Rows::new(&frame, colours);
    if at_once {
        file.decode_at_once(&frame, &scan, &mut rows)?;
    } else {
        file.decode_in_layers(&frame, scan, &mut rows)?;
    }
    let picture = Picture::new(frame.width, frame.height, rows.channels(), rows.into_pixels())?;
    Ok(picture.with_orientation(file.metadata.orientation(options)))
}

/// A file that is read from marker to marker.
struct File<'a> {
    markers: Markers<'a>,
    tables: Tables,
    metadata: Metadata<'a>,
    frame: Option<Frame>,
    has_frame: bool,
}

impl<'a> File<'a> {
    fn new(body: &'a [u8]) -> Self {
        Self {
            markers: Markers::new(body),
            tables: Tables::default(),
            metadata: Metadata::default(),
            frame: None,
            has_frame: false,
        }
    }

    /// Reads segments up to the next scan, whose header it returns; nothing where the picture ends.
    fn next_scan(&mut self) -> Result<Option<&'a [u8]>, ImageError> {
        loop {
            let (marker, segment) = match self.markers.next()? {
                Marker::End => return Ok(None),
                Marker::Segment(marker, segment) => (marker, segment),
            };
            match marker {
                0xda => return Ok(Some(segment)),
                0xc4 => self.tables.huffman(segment)?,
                0xdb => self.tables.quantisers(segment)?,
                0xdd => self.tables.restarts(segment)?,
                0xdc => return Err(broken("that tells its height behind its picture")),
                0xde | 0xdf => return Err(frame::unknown("hierarchical")),
                0xc0..=0xcf if !matches!(marker, 0xc8 | 0xcc) => {
                    if self.has_frame {
                        return Err(broken("with two frame headers"));
                    }
                    self.has_frame = true;
                    self.frame = Some(Frame::read(marker, segment)?);
                }
                // Of metadata behind the first scan nobody takes notice.
                0xe0..=0xef if self.frame.is_some() || !self.has_frame => self.metadata.read(marker, segment),
                _ => {}
            }
        }
    }

    /// A picture whose components all come in one scan: a row of blocks is kept as long as it takes to write its pixels.
    fn decode_at_once(&mut self, frame: &Frame, scan: &Scan, rows: &mut Rows) -> Result<(), ImageError> {
        self.tables.latch(frame, scan)?;
        let end = scan::at_once(frame, scan, &self.tables, self.markers.rest(), rows)?;
        self.markers.go_to(end);
        self.markers.skip_last_restart(&self.tables, scan.n_units(frame));
        match self.next_scan()? {
            None => Ok(()),
            Some(_) => Err(broken("with two scans of one component")),
        }
    }

    /// A picture whose coefficients come bit by bit, or component by component.
    fn decode_in_layers(&mut self, frame: &Frame, first: Scan, rows: &mut Rows) -> Result<(), ImageError> {
        let mut layers = Layers::new(frame);
        let mut scan = first;
        for _ in 0..SCANS_MAX {
            layers.begin(&scan)?;
            self.tables.latch(frame, &scan)?;
            let end = layers.decode(frame, &scan, &self.tables, self.markers.rest())?;
            self.markers.go_to(end);
            self.markers.skip_last_restart(&self.tables, scan.n_units(frame));
            match self.next_scan()? {
                Some(next) => scan = Scan::new(next, frame)?,
                None => {
                    layers.check_complete()?;
                    layers.write(frame, &self.tables, rows)?;
                    return Ok(());
                }
            }
        }
        Err(broken(format!("of more than {SCANS_MAX} scans")))
    }
}
