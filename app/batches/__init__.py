"""Many images, one question: an uploaded archive read with care, members submitted little by little, results as one."""
