# SPDX-License-Identifier: GPL-2.0
#
# Read the rows of bench/run ("boot", "host" and what bench/latency prints) and print
# what the first argument asks for:
#
#	table	for each kind of preemption, file and kernel, how long the target
#		waited and what the readers got done; then which criteria are met
#	curves	for the plot: "# PREEMPTION|READ|KERNEL|SIDE", then lines of MS SHARE: S(x)
#	scaling	for the plot: "# KERNEL|readers" or "# KERNEL|VMAs", then lines of their
#		number, the target's calls a second, and the readers' MB a second
#
# Definitions, with S and W as in bench/latency.c. Each is of all boots of a kernel
# together: a sum over a sum.
#
#	excess W(x)	W(x) while the target is read, less W(x) while the decoy is
#	readers		bytes a second of all readers, those that the reads return (of
#			cat: scans a second), preemption included
#	of decoy	the same over that of the decoy
#	of stock	the same over that of the first kernel
#	host		the share of the time for which the host kept a runnable virtual CPU
#			from running, or for which its own hypervisor stole a CPU from it:
#			the largest of these in all boots; "-" if the host did not say
#	opmax, opavg	the longest call of a period, the mean of a period's calls
#
# [A, B] is a 95 % interval, by bootstrap: boots are drawn with replacement, and then
# pairs of periods in each. With few boots it knows little of how boots differ.
#
# A criterion is met or NOT MET if all of the interval is on that side. Otherwise it is
# undecided, as with one boot only, or if the host was busy, which a "!" marks.

use strict;
use warnings;

my $REPLICATES = 1000;
my $HOST_BUSY = 0.01;
my $EXCESS = 0.1;	# % of the time, of W(1 ms)
my $OF_STOCK = 1.0;
my $OF_DECOY = 0.5;	# for a target that changes one large mapping
my $OPMAX = 1.5;	# times the decoy's

my (@kernels, @sets, %runs, @order, $boot, $run, @host, %seen);

sub fail
{
	print STDERR "latency: @_\n";
	exit 1;
}

sub pairs_of
{
	return map { @$_ } map { $_->{measured} } @_;
}

# Add a run that is complete to those of its set and kernel.
sub end_run
{
	my $label = $run->{file};

	for my $side ('target', 'decoy') {
		my $calls = 0;

		$calls += $_->{$side} ? $_->{$side}{calls} : 0 for @{$run->{measured}};
		fail("$label on $boot->{kernel} has $calls calls, but",
		     $run->{calls}{$side} // 0, 'in its histogram: the file is cut')
			if !$calls || $calls != ($run->{calls}{$side} // 0);
	}
	$label .= " $run->{calls_are}" if $run->{calls_are} ne 'pages';
	$run->{label} = $label;
	$run->{kernel} = $boot->{kernel};
	$run->{preempt} = $boot->{preempt};
	push @order, $run;
	undef $run;
}

sub read_rows
{
	open(my $rows, '<', $_[0]) or fail("$_[0]: $!");
	while (<$rows>) {
		my ($word, @rest) = split;
		my %value = map { split /=/, $_, 2 } grep { /=/ } @rest;

		next if !defined $word || $word eq '#';
		if ($word eq 'boot') {
			fail("a run on $boot->{kernel} has no end: the file is cut") if $run;
			$boot = \%value;
			push @kernels, $value{kernel} if !$seen{$value{kernel}}++;
		} elsif ($word eq 'begin') {
			$run = { measured => [], from => pop @host };
		} elsif ($word eq 'host') {
			push @host, \%value;
		} elsif ($word eq 'run') {
			@$run{keys %value} = values %value;
		} elsif ($word eq 'period') {
			$run->{measured}[$value{pair}]{$value{on}} = \%value;
		} elsif ($word =~ /^\d/) {
			$run->{ns}{target}{$word} += $rest[1];
			$run->{ns}{decoy}{$word} += $rest[3];
			$run->{calls}{target} += $rest[0];
			$run->{calls}{decoy} += $rest[2];
		} elsif ($word eq 'over') {
			$run->{to} = pop @host;
		} elsif ($word eq 'end') {
			end_run();
		}
	}
	fail('there are no runs') if !@order;
	fail("a run on $boot->{kernel} has no end: the file is cut") if $run;
}

# Runs of the same make a set; what differs between some of a file is in its name.
sub make_sets
{
	my %several;

	$several{"$_->{readers} $_->{vmas}"} = 1 for grep { $_->{calls_are} eq 'pages' } @order;
	for my $run (@order) {
		my $set;

		$run->{label} .= ", $run->{readers} readers, $run->{vmas} more VMAs"
			if keys %several > 1;
		$set = "$run->{preempt}|$run->{label}";
		push @sets, $set if !$runs{$set};
		push @{$runs{$set}{$run->{kernel}}}, $run;
	}
	for my $set (@sets) {
		$runs{$set}{$_} or fail("no run of $_ has $set: the file is cut") for @kernels;
	}
}

sub sum
{
	my ($key, $side, @pairs) = @_;
	my $sum = 0;

	$sum += $_->{$side}{$key} for @pairs;
	return $sum;
}

sub ratio
{
	my ($a, $b) = @_;

	return $b ? $a / $b : 0;
}

sub share		# of the target's time, in %
{
	my ($key, $side, @pairs) = @_;

	return 100 * ratio(sum($key, $side, @pairs), sum('thread_ns', $side, @pairs));
}

sub excess
{
	my ($key, @pairs) = @_;

	return share($key, 'target', @pairs) - share($key, 'decoy', @pairs);
}

sub rate		# a second, of one reader
{
	my ($side, @pairs) = @_;

	return 1e9 * ratio(sum('bytes', $side, @pairs), sum('read_ns', $side, @pairs));
}

sub readable
{
	my ($rate) = @_;

	return $rate >= 1e6 ? sprintf('%.2fM', $rate / 1e6) :
	       $rate >= 1e3 ? sprintf('%.1fk', $rate / 1e3) : sprintf('%.1f', $rate);
}

sub median
{
	my @sorted = sort { $a <=> $b } @_;

	return ($sorted[$#sorted / 2] + $sorted[@sorted / 2]) / 2;
}

sub opmax
{
	my ($side, @pairs) = @_;

	return median(map { $_->{$side}{max_ns} } @pairs) / 1e6;
}

# The value of a function of one or two lists of pairs, and its interval.
sub estimate
{
	my ($function, @of) = @_;
	my @values;

	srand(1);
	for (1 .. $REPLICATES) {
		push @values, $function->(map {
			my $boots = $_;
			[map {
				my $pairs = $boots->[rand @$boots]{measured};
				map { $pairs->[rand @$pairs] } @$pairs;
			} @$boots]
		} @of);
	}
	@values = sort { $a <=> $b } @values;
	return ($function->(map { [pairs_of(@$_)] } @of),
		$values[0.025 * $REPLICATES], $values[0.975 * $REPLICATES - 1]);
}

sub interval
{
	my ($digits, @estimate) = @_;

	return sprintf("%.${digits}f [%.${digits}f, %.${digits}f]", @estimate);
}

# For which share of a run the host kept a CPU waiting, or was kept waiting itself.
sub host_share
{
	my ($run) = @_;
	my ($from, $to) = ($run->{from}, $run->{to});
	my ($ns, @shares);

	return if !$from || !$to;
	$ns = $to->{ns} - $from->{ns};
	@shares = map { ($to->{$_} - $from->{$_}) / $ns }
		  grep { /^vcpu/ && defined $to->{$_} } keys %$from;
	return if !@shares;
	# A tick is 10 ms.
	push @shares, ($to->{steal_ticks} - $from->{steal_ticks}) * 1e7 / $ns;
	return (sort { $b <=> $a } @shares)[0];
}

my %verdicts;

# At most, or with $least set at least, so much.
sub judge
{
	my ($what, $limit, $least, $boots, $busy, $value, $low, $high) = @_;
	my ($good, $bad) = $least ? ($low >= $limit, $high < $limit) :
				    ($high <= $limit, $low > $limit);
	my $word = $busy || $boots < 2 ? 'undecided' : $good ? 'met' : $bad ? 'NOT MET' : 'undecided';

	$verdicts{$word}++;
	$verdicts{busy}++ if $busy;
	return sprintf("%-10s %s%s: %s\n", $word, $what, $busy ? ' !' : '',
		       interval(3, $value, $low, $high));
}

sub print_table
{
	my @criteria;
	my $preempt = '';

	for my $set (@sets) {
		my ($kind, $label) = split /\|/, $set;
		my $first = $runs{$set}{$kernels[0]};
		my $calls = $first->[0]{calls_are};

		if ($kind ne $preempt) {
			print "preempt=$kind; S, W and excess in % of the target's time\n";
			printf "%-40s %-8s %9s %7s %7s %-28s %-28s %-28s %9s %-18s %-18s %s\n", 'read',
			       'kernel', 'calls/s', 'S(1ms)', 'decoy', 'excess W(1ms)',
			       'excess W(4ms)', 'excess W(16ms)', 'readers/s', 'of decoy', 'of stock',
			       'host';
			$preempt = $kind;
		}
		for my $kernel (@kernels) {
			my $boots = $runs{$set}{$kernel};
			my @pairs = pairs_of(@$boots);
			my ($busiest) = sort { $b <=> $a } map { host_share($_) // () } @$boots;
			my $busy = defined $busiest && $busiest > $HOST_BUSY;
			my %excess = map {
				my $key = "excess_${_}ms";
				$_ => [estimate(sub { excess($key, @{$_[0]}) }, $boots)]
			} 1, 4, 16;
			my @of_decoy = estimate(sub { ratio(rate('target', @{$_[0]}),
							    rate('decoy', @{$_[0]})) }, $boots);
			my @of_stock = $kernel eq $kernels[0] ? () :
				estimate(sub { ratio(rate('target', @{$_[0]}),
						     rate('target', @{$_[1]})) }, $boots, $first);
			my $rate = rate('target', @pairs) * $boots->[0]{readers};

			printf "%-40s %-8s %9.0f %7.3f %7.3f %-28s %-28s %-28s %9s %-18s %-18s %s\n",
			       $label, $kernel,
			       1e9 * ratio(sum('calls', 'target', @pairs),
					   sum('thread_ns', 'target', @pairs)),
			       share('over_1ms', 'target', @pairs),
			       share('over_1ms', 'decoy', @pairs),
			       (map { interval(3, @{$excess{$_}}) } 1, 4, 16),
			       readable($rate), interval(2, @of_decoy), @of_stock ? interval(2, @of_stock) : '',
			       !defined $busiest ? '-' : sprintf('%.1f %%%s', 100 * $busiest,
								 $busy ? ' !' : '');
			next if $kernel eq $kernels[0];
			my $what = "$kernel, preempt=$kind, $label";

			my @on = (scalar @$boots, $busy);

			push @criteria, judge("excess W(1 ms) at most $EXCESS %: $what", $EXCESS, 0, @on,
					      @{$excess{1}}) if $calls !~ /fork|fault|whole|random/;
			push @criteria, judge("readers at least $OF_STOCK of stock: $what", $OF_STOCK, 1,
					      @on, @of_stock) if $calls eq 'pages';
			push @criteria, judge("readers at least $OF_DECOY of decoy: $what", $OF_DECOY, 1,
					      @on, @of_decoy) if $calls =~ /brk|behind|last/;
			push @criteria, judge("median opmax at most $OPMAX of decoy: $what", $OPMAX, 0,
					      @on, estimate(sub { ratio(opmax('target', @{$_[0]}),
									opmax('decoy', @{$_[0]})) },
							    $boots)) if $calls eq 'random';
		}
	}
	print_operations();
	print "\n", @criteria, "\n";
	printf "%d met, %d NOT MET, %d undecided (%d on a busy host, with more than %g %%)\n",
	       (map { $verdicts{$_} // 0 } 'met', 'NOT MET', 'undecided', 'busy'),
	       100 * $HOST_BUSY;
}

# The figures of McKenney's test, in ms.
sub print_operations
{
	my @random = grep { $runs{$_}{$kernels[0]}[0]{calls_are} eq 'random' } @sets;

	return if !@random;
	printf "\n%-30s %-8s %5s %13s %14s %12s %12s %12s\n", 'in ms', 'kernel', 'runs',
	       'opmax median', 'opmax largest', 'opavg', 'scans/run', 'busy periods';
	for my $set (@random) {
		for my $kernel (@kernels) {
			my @pairs = pairs_of(@{$runs{$set}{$kernel}});

			for my $side ('target', 'decoy') {
				my @max = sort { $a <=> $b } map { $_->{$side}{max_ns} } @pairs;

				printf "%-30s %-8s %5d %13.3f %14.3f %12.4f %12.1f %12.1f\n",
				       $side, $kernel, scalar @pairs, opmax($side, @pairs),
				       $max[-1] / 1e6,
				       sum('calls_ns', $side, @pairs) / sum('calls', $side, @pairs) / 1e6,
				       sum('passes', $side, @pairs) / @pairs,
				       sum('busyperiods', $side, @pairs) / @pairs;
			}
		}
	}
}

sub print_curves
{
	for my $set (@sets) {
		for my $kernel (@kernels) {
			for my $side ('target', 'decoy') {
				my $boots = $runs{$set}{$kernel};
				my $time = sum('thread_ns', $side, pairs_of(@$boots));
				my (%ns, @lines);
				my $above = 0;

				for my $run (@$boots) {
					my $of = $run->{ns}{$side};

					$ns{$_} += $of->{$_} for keys %$of;
				}
				for my $low (sort { $b <=> $a } keys %ns) {
					$above += $ns{$low};
					unshift @lines, sprintf("%g %g\n", $low / 1e6, $above / $time)
						if $ns{$low} && $low;
				}
				print "# $set|$kernel|$side\n", @lines, "\n\n";
			}
		}
	}
}

sub print_scaling
{
	my %number = (readers => 'readers', VMAs => 'vmas');
	my ($base) = map { $_->{vmas} } grep { $_->{readers} == 1 } @order;

	fail('there are no runs with one reader') if !defined $base;
	for my $kernel (@kernels) {
		for my $axis ('readers', 'VMAs') {
			my @lines;

			for my $set (@sets) {
				my $boots = $runs{$set}{$kernel};
				my $run = $boots->[0];
				my @pairs = pairs_of(@$boots);

				next if $run->{calls_are} ne 'pages';
				next if $axis eq 'readers' ? $run->{vmas} != $base : $run->{readers} != 2;
				push @lines, [$run->{$number{$axis}} + ($axis eq 'VMAs' && 27),
					      1e9 * ratio(sum('calls', 'target', @pairs),
							  sum('thread_ns', 'target', @pairs)),
					      rate('target', @pairs) * $run->{readers} / 1e6];
			}
			print "# $kernel|$axis\n",
			      (map { "@$_\n" } sort { $a->[0] <=> $b->[0] } @lines), "\n\n";
		}
	}
}

my %show = (table => \&print_table, curves => \&print_curves, scaling => \&print_scaling);

@ARGV == 2 && $show{$ARGV[0]} or fail('usage: perl bench/latency.pl table|curves|scaling ROWS');
read_rows($ARGV[1]);
make_sets();
$show{$ARGV[0]}->();
