#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0
# checkpatch.pl OPTION... PATCH: mind new files, and spaces at the end of a new line.
my $said = 0;
my $path = $ARGV[-1];
open(my $patch, '<', $path) or die "$path: $!\n";
while (my $line = <$patch>) {
	my $what;
	$what = 'WARNING:FILE_PATH_CHANGES: a file is new' if $line =~ m{^--- /dev/null};
	$what = 'ERROR:TRAILING_WHITESPACE: trailing whitespace' if $line =~ /^\+.*[ \t]$/;
	next unless $what;
	print "$path:$.: $what\n";
	$said = 1;
}
exit $said;
