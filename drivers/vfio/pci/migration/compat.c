// SPDX-License-Identifier: GPL-2.0-only
/*
 * Would it load there what is saved here?  Asked and answered in sysfs, before
 * there is a VM
 *
 * A version string has all that a stream's header has, so the answer is the one
 * that the loading of a stream would begin with.
 */
#include <kunit/visibility.h>
#include <linux/device.h>
#include <linux/export.h>
#include <linux/kernel.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "migration.h"

/* The whole of a string: the format, the name, four IDs, version and features */
#define VERSION_STRING	"vfio-migration-%hu %s %04hx:%04hx:%04hx:%04hx %hu %#llx"
#define VERSION_SCAN	"vfio-migration-%hu %23s %4hx:%4hx:%4hx:%4hx %hu %llx"
#define VERSION_MAX	128

static void to_string(char out[VERSION_MAX], u16 format,
		      const struct vfio_mig_identity *id)
{
	snprintf(out, VERSION_MAX, VERSION_STRING, format, id->name, id->vendor,
		 id->device, id->subvendor, id->subdevice, id->version,
		 id->features);
}

/**
 * mig_compatible() - Hold a version string against a device
 * @id: the device that is to load
 * @string: of the one that saves, with a newline behind it or without
 *
 * Return: 0; -EINVAL when that is no such string; or what mig_check_identity()
 * says, and would say of a stream.
 */
int mig_compatible(const struct vfio_mig_identity *id, const char *string)
{
	char name[VFIO_MIG_MAX_NAME + 1], again[VERSION_MAX];
	struct vfio_mig_identity of = { .name = name };
	u16 format = 0;
	int n;

	n = sscanf(string, VERSION_SCAN, &format, name, &of.vendor, &of.device,
		   &of.subvendor, &of.subdevice, &of.version, &of.features);
	if (format > MIG_STREAM_FORMAT)
		return -EPROTONOSUPPORT;
	if (n != 8 || format != MIG_STREAM_FORMAT)
		return -EINVAL;
	/* What was read is all that there was, and nothing was cut */
	to_string(again, format, &of);
	if (!sysfs_streq(again, string))
		return -EINVAL;
	return mig_check_identity(id, &of);
}
EXPORT_SYMBOL_IF_KUNIT(mig_compatible);

static ssize_t version_show(struct device *dev, struct device_attribute *attr,
			    char *buf)
{
	struct vfio_mig *mig = container_of(attr, struct vfio_mig,
					    attributes.version);
	char string[VERSION_MAX];

	to_string(string, MIG_STREAM_FORMAT, mig->identity);
	return sysfs_emit(buf, "%s\n", string);
}

static ssize_t compatible_store(struct device *dev,
				struct device_attribute *attr, const char *buf,
				size_t count)
{
	struct vfio_mig *mig = container_of(attr, struct vfio_mig,
					    attributes.compatible);

	return mig_compatible(mig->identity, buf) ?: count;
}

/**
 * vfio_mig_add_attributes() - Let the device be asked in sysfs
 * @mig: the device, which is registered
 *
 * Its folder has ``migration/version`` to read and ``migration/compatible`` to write
 * then.
 *
 * Return: 0 or an errno.
 */
int vfio_mig_add_attributes(struct vfio_mig *mig)
{
	struct vfio_mig_attributes *a = &mig->attributes;

	a->version = (struct device_attribute)
		__ATTR(version, 0444, version_show, NULL);
	a->compatible = (struct device_attribute)
		__ATTR(compatible, 0200, NULL, compatible_store);
	sysfs_attr_init(&a->version.attr);
	sysfs_attr_init(&a->compatible.attr);
	a->list[0] = &a->version.attr;
	a->list[1] = &a->compatible.attr;
	a->group = (struct attribute_group){
		.name = "migration",
		.attrs = a->list,
	};
	return sysfs_create_group(&mig->vdev->dev->kobj, &a->group);
}
EXPORT_SYMBOL_GPL(vfio_mig_add_attributes);

/**
 * vfio_mig_remove_attributes() - No longer
 * @mig: the device, which is still there
 *
 * Context: process; waits for those who ask right now.
 */
void vfio_mig_remove_attributes(struct vfio_mig *mig)
{
	sysfs_remove_group(&mig->vdev->dev->kobj, &mig->attributes.group);
}
EXPORT_SYMBOL_GPL(vfio_mig_remove_attributes);
