/* steps.cu - the kernel of the graph with which gpu_runner.py compares the runner and a loop: each
 * launch appends a number to a list, so that the order of launches shows. */
extern "C" __global__ void step(long long *list, long long value)
{
    if (threadIdx.x == 0) {
        list[0] += 1;
        list[list[0]] = value;
    }
}
