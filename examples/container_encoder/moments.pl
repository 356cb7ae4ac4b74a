#!/usr/bin/perl
# Intensity and moments of every channel of every site: an encoder without Python.
#
# docs/container_encoders.md describes what it reads and writes. Features per channel, in this order: mean, standard
# deviation, skewness, kurtosis, the 5%, 25%, 50%, 75% and 95% quantiles of the grey levels; then, of the intensity
# seen as a mass, the centre (x, y) and the second central moments (xx, yy, xy), in units of the image's sides.
use strict;
use warnings;
use Compress::Zlib qw(uncompress);
use JSON::PP;
use MIME::Base64 qw(decode_base64);

my @QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95);
my ($input, $output) = @ENV{qw(CELLASSETS_INPUT CELLASSETS_OUTPUT)};
die "CELLASSETS_INPUT and CELLASSETS_OUTPUT must name folders\n" unless defined $input && defined $output;

# Dagster Pipes: one JSON object per line, to a file or to standard error. Without the variable nothing is reported.
my $pipe;
if (my $given = $ENV{DAGSTER_PIPES_MESSAGES}) {
    my $where = decode_json(uncompress(decode_base64($given)));
    if (defined $where->{path}) { open($pipe, '>>', $where->{path}) or die "$where->{path}: $!\n" }
    else { $pipe = ($where->{stdio} // '') eq 'stdout' ? \*STDOUT : \*STDERR }
    $pipe->autoflush(1);
}

sub report {
    my ($method, $params) = @_;
    return unless $pipe;
    print {$pipe} encode_json({ __dagster_pipes_version => '0.1', method => $method, params => $params }), "\n";
}

sub moments {
    my ($plane, $height, $width, $pixel_bytes) = @_;
    my @count = (0);    # grows to the highest level
    my ($mass, $mx, $my, $mxx, $myy, $mxy) = (0) x 6;
    for my $y (0 .. $height - 1) {
        my ($row, $row_x, $row_xx, $x) = (0, 0, 0, 0);
        my $line = substr $plane, $y * $width * $pixel_bytes, $width * $pixel_bytes;
        for my $level (unpack $pixel_bytes == 2 ? 'S<*' : 'C*', $line) {
            $count[$level]++;
            $row += $level;
            $row_x += $level * $x;
            $row_xx += $level * $x * $x;
            $x++;
        }
        $mass += $row;
        $mx += $row_x;
        $my += $row * $y;
        $mxx += $row_xx;
        $myy += $row * $y * $y;
        $mxy += $row_x * $y;
    }
    my $n = $height * $width;
    my $mean = $mass / $n;
    my @central = (0) x 5;
    for my $level (0 .. $#count) {
        next unless $count[$level];
        $central[$_] += $count[$level] * ($level - $mean)**$_ / $n for 2 .. 4;
    }
    my $std = sqrt $central[2];
    my @shape = $std > 0 ? ($central[3] / $std**3, $central[4] / $std**4) : (0, 0);
    my @quantiles;
    for my $fraction (@QUANTILES) {
        my ($level, $below) = (0, $count[0]);
        $below += $count[++$level] // 0 while $below < $fraction * $n;
        push @quantiles, $level;
    }
    $mass ||= 1;    # an image of zeros has its centre at 0
    my ($cx, $cy) = ($mx / $mass, $my / $mass);
    my @spread = (
        ($mxx / $mass - $cx**2) / $width**2,
        ($myy / $mass - $cy**2) / $height**2,
        ($mxy / $mass - $cx * $cy) / ($width * $height),
    );
    return ($mean, $std, @shape, @quantiles, $cx / $width, $cy / $height, @spread);
}

open(my $json, '<', "$input/manifest.json") or die "$input/manifest.json: $!\n";
my $manifest = decode_json(do { local $/; <$json> });
my ($n_sites, $n_channels, $height, $width) = @$manifest{qw(n_sites n_channels height width)};
my $n_features = $n_channels * (9 + 5);
die "the model was declared with embedding_dim $manifest->{embedding_dim}; expected $n_features\n"
    if $manifest->{embedding_dim} != $n_features;

my %bytes_of = (uint8 => 1, uint16 => 2);
my $pixel_bytes = $bytes_of{ $manifest->{images}{dtype} } or die "pixels of $manifest->{images}{dtype}\n";

report('opened', {});
my $path = "$input/$manifest->{images}{file}";
open(my $images, '<:raw', $path) or die "$path: $!\n";
seek $images, $manifest->{images}{data_offset}, 0;
open(my $vectors, '>', "$output/embeddings.csv") or die "$output/embeddings.csv: $!\n";
for my $row (0 .. $n_sites - 1) {
    my @features;
    for my $channel (0 .. $n_channels - 1) {
        my $n_bytes = $height * $width * $pixel_bytes;
        my $n_read = read $images, my $plane, $n_bytes;
        die "$path: ends in channel $channel of row $row\n" if ($n_read // 0) != $n_bytes;
        push @features, moments($plane, $height, $width, $pixel_bytes);
    }
    print {$vectors} join(',', $row, map { sprintf '%.9g', $_ } @features), "\n";
    report('log', { level => 'INFO', message => sprintf 'measured %d of %d sites', $row + 1, $n_sites })
        if ($row + 1) % 64 == 0 || $row + 1 == $n_sites;
}
close $vectors or die "$output/embeddings.csv: $!\n";
report('report_custom_message', { payload => { perl_version => sprintf('%vd', $^V), features_per_channel => 9 + 5 } });
report('closed', {});
