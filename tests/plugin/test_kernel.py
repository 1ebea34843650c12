"""A kernel of one's own, where there is no GPU to run it."""


def test_a_kernel_of_ones_own_needs_a_gpu(inside, pytester):
    pytester.makepyfile(
        """
        from pytest_xsched import buffer, kernel

        def test_it(xsched):
            own = kernel("...", "scale", grid=1, block=1, args=[buffer(8)])
            xsched.run(xsched.queue("q", own), duration="1s")
        """
    )
    result = inside("--xsched-device=sim")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["E * kernel 'scale': the sim device cannot compile source text; cuda and hip can"]
    )
